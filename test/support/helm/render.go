// Renders a chart of Helm as Helm 3 does, for tests: Helm itself is in no place that CI reaches. The language of the templates is the
// real one, Go's text/template with sprig; what Helm adds is restated here after its documentation and its behaviour (functions,
// missing keys, how values are merged, which parts of Files templates see). Left out, and unknown to a template that asks for them:
// sub-charts, hooks, toToml, Files.Glob.
//
//	render CHART < cases.json > answers.json
//
// A case is a release with its values, those of `-f` one after the other; an answer has the merged values, and the texts by template or
// the error that Helm would end with.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

type release struct {
	Name        string   `json:"name"`
	Namespace   string   `json:"namespace"`
	Values      []string `json:"values"`
	KubeVersion string   `json:"kubeVersion"`
	APIVersions []string `json:"apiVersions"`
}

type answer struct {
	Values object            `json:"values,omitempty"`
	Files  map[string]string `json:"files,omitempty"`
	Error  string            `json:"error,omitempty"`
}

type chart struct {
	metadata  object
	defaults  object
	templates map[string]string
	files     files
}

// An include that comes back to itself ends as in Helm.
const deepest = 1000

func main() {
	loaded, err := load(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var releases []release
	if err := json.NewDecoder(os.Stdin).Decode(&releases); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := make([]answer, len(releases))
	for index, one := range releases {
		answers[index] = loaded.answer(one)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		os.Exit(1)
	}
}

// load reads a chart's directory. Links are followed, as Helm follows them.
func load(directory string) (chart, error) {
	loaded := chart{templates: map[string]string{}, files: files{}}
	err := filepath.WalkDir(directory, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(directory, name)
		if err != nil {
			return err
		}
		switch {
		case inside == "Chart.yaml":
			return yaml.UnmarshalStrict(text, &loaded.metadata)
		case inside == "values.yaml":
			return yaml.UnmarshalStrict(text, &loaded.defaults)
		case inside == "values.schema.json" || inside == ".helmignore":
			return nil
		case strings.HasPrefix(inside, "templates/"):
			loaded.templates[inside] = string(text)
		default:
			loaded.files[inside] = text
		}
		return nil
	})
	return loaded, err
}

func (c chart) answer(one release) (result answer) {
	values := object{}
	for _, text := range one.Values {
		given := object{}
		if err := yaml.Unmarshal([]byte(text), &given); err != nil {
			return answer{Error: err.Error()}
		}
		values = over(given, values)
	}
	values = withDefaults(values, c.defaults)
	result.Values = values
	rendered, err := c.render(one, values)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	result.Files = rendered
	return result
}

// over lays values of a later file over those of an earlier one, tables in tables. A null is kept: it takes a default away later.
func over(later, earlier object) object {
	merged := object{}
	for key, value := range earlier {
		merged[key] = value
	}
	for key, value := range later {
		table, isTable := value.(object)
		under, underIsTable := merged[key].(object)
		if isTable && underIsTable {
			value = over(table, under)
		}
		merged[key] = value
	}
	return merged
}

// withDefaults fills in what the chart has and nobody gave. Null takes a default away, and a table is never replaced by what is none.
func withDefaults(given, defaults object) object {
	merged := object{}
	for key, value := range defaults {
		merged[key] = value
	}
	for key, value := range given {
		standard, known := defaults[key]
		table, isTable := value.(object)
		under, underIsTable := standard.(object)
		switch {
		case value == nil && known:
			delete(merged, key)
		case isTable && underIsTable:
			merged[key] = withDefaults(table, under)
		default:
			merged[key] = value
		}
	}
	return merged
}

func (c chart) render(one release, values object) (rendered map[string]string, err error) {
	// Helm's must-functions panic.
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("rendering template failed: %v", fault)
		}
	}()
	root := template.New("gotpl").Option("missingkey=zero")
	root.Funcs(functions(root))
	name := c.metadata["name"].(string)
	names := make([]string, 0, len(c.templates))
	for file := range c.templates {
		names = append(names, file)
	}
	sort.Strings(names)
	for _, file := range names {
		if _, err := root.New(path.Join(name, file)).Parse(c.templates[file]); err != nil {
			return nil, err
		}
	}
	rendered = map[string]string{}
	for _, file := range names {
		if strings.HasPrefix(path.Base(file), "_") {
			continue
		}
		var text strings.Builder
		if err := root.ExecuteTemplate(&text, path.Join(name, file), c.scope(one, values, path.Join(name, file))); err != nil {
			return nil, err
		}
		rendered[file] = strings.ReplaceAll(text.String(), "<no value>", "")
	}
	return rendered, nil
}

// scope is what a template sees as its dot.
func (c chart) scope(one release, values object, file string) object {
	return object{
		"Values":       values,
		"Chart":        described(c.metadata),
		"Files":        c.files,
		"Capabilities": capabilities{KubeVersion: kubeVersion{one.KubeVersion}, APIVersions: versions(one.APIVersions)},
		"Release":      object{"Name": one.Name, "Namespace": one.Namespace, "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1},
		"Template":     object{"Name": file, "BasePath": path.Join(c.metadata["name"].(string), "templates")},
	}
}

// described has the fields of Chart.yaml under the names that templates know them by.
func described(metadata object) object {
	named := object{"IsRoot": true}
	for key, value := range metadata {
		field := strings.ToUpper(key[:1]) + key[1:]
		if key == "apiVersion" {
			field = "APIVersion"
		}
		named[field] = value
	}
	return named
}

type kubeVersion struct{ Version string }

func (v kubeVersion) String() string { return v.Version }

type versions []string

func (v versions) Has(one string) bool {
	for _, known := range v {
		if known == one {
			return true
		}
	}
	return false
}

type capabilities struct {
	KubeVersion kubeVersion
	APIVersions versions
}

type files map[string][]byte

func (f files) Get(name string) string      { return string(f[name]) }
func (f files) GetBytes(name string) []byte { return f[name] }

func (f files) AsConfig() string {
	texts := map[string]string{}
	for name, text := range f {
		texts[path.Base(name)] = string(text)
	}
	return toYAML(texts)
}

func (f files) AsSecrets() string {
	texts := map[string]string{}
	for name, text := range f {
		texts[path.Base(name)] = base64.StdEncoding.EncodeToString(text)
	}
	return toYAML(texts)
}

func functions(root *template.Template) template.FuncMap {
	known := sprig.TxtFuncMap()
	// A template has no business with the environment of whoever runs Helm, nor with the network.
	delete(known, "env")
	delete(known, "expandenv")
	known["getHostByName"] = func(string) string { return "" }
	known["toYaml"] = toYAML
	known["mustToYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	known["fromYaml"] = func(text string) object {
		table := object{}
		if err := yaml.Unmarshal([]byte(text), &table); err != nil {
			table["Error"] = err.Error()
		}
		return table
	}
	known["fromYamlArray"] = func(text string) []interface{} {
		list := []interface{}{}
		if err := yaml.Unmarshal([]byte(text), &list); err != nil {
			return []interface{}{err.Error()}
		}
		return list
	}
	known["toJson"] = func(value interface{}) string {
		text, err := json.Marshal(value)
		if err != nil {
			return ""
		}
		return string(text)
	}
	known["fromJson"] = func(text string) object {
		table := object{}
		if err := json.Unmarshal([]byte(text), &table); err != nil {
			table["Error"] = err.Error()
		}
		return table
	}
	// There is no cluster to look into.
	known["lookup"] = func(string, string, string, string) object { return object{} }
	known["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return value, errors.New(message)
		}
		return value, nil
	}
	known["fail"] = func(message string) (string, error) { return "", errors.New(message) }
	for name, function := range inside(root, map[string]int{}) {
		known[name] = function
	}
	return known
}

// inside has the functions that know the other templates.
func inside(root *template.Template, open map[string]int) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data interface{}) (string, error) {
			if open[name] > deepest {
				return "", fmt.Errorf("rendering template has a nested reference name: %s", name)
			}
			open[name]++
			defer func() { open[name]-- }()
			var text bytes.Buffer
			err := root.ExecuteTemplate(&text, name, data)
			return text.String(), err
		},
		"tpl": func(source string, data interface{}) (string, error) {
			own, err := root.Clone()
			if err != nil {
				return "", err
			}
			// A clone forgets its option, and has the functions of what it was made from.
			own.Option("missingkey=zero")
			own.Funcs(inside(own, open))
			parsed, err := own.New(root.Name()).Parse(source)
			if err != nil {
				return "", err
			}
			var text strings.Builder
			err = parsed.Execute(&text, data)
			return strings.ReplaceAll(text.String(), "<no value>", ""), err
		},
	}
}

// toYAML gives nothing for what cannot be written, as Helm's does.
func toYAML(value interface{}) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}
