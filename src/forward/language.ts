/** Languages that the pages are written in. */
const LANGUAGES = ['en', 'zh'] as const;
export type Language = (typeof LANGUAGES)[number];

/** The language that somebody asked for by name, or that fits Accept-Language (RFC 9110 section 12.5.4) best; English where none does. */
export function chooseLanguage(asked: string | undefined, accepted: string | undefined): Language {
  const named = LANGUAGES.find((language) => language === asked);
  if (named !== undefined) return named;
  let best: { language: Language; weight: number } = { language: 'en', weight: 0 };
  for (const item of (accepted ?? '').slice(0, 512).split(',')) {
    const [range = '', ...parameters] = item.trim().toLowerCase().split(/\s*;\s*/);
    const language = LANGUAGES.find((one) => range === one || range.startsWith(`${one}-`));
    const quality = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    const weight = quality === undefined ? 1 : Number(quality);
    if (language !== undefined && weight > best.weight) best = { language, weight };
  }
  return best.language;
}
