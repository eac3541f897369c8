import { html, type Html } from './html.ts';
import type { Language } from './language.ts';
import { STYLE, STYLE_HASH } from './page-style.ts';
import type { ProblemCode } from './problem.ts';

/** What a person is told of a problem: no more than its code tells a program, and what they can do about it. */
interface Told {
  readonly title: string;
  readonly why: string;
  readonly steps: readonly string[];
}

interface Words {
  readonly lang: string;
  readonly quote: string;
  readonly request: string;
  readonly code: string;
  readonly problems: Readonly<Record<ProblemCode, Told>>;
}

const CHOOSE_EN = 'Close all windows of the browser and open the page again: only then does it ask again which certificate to use.';
const LATER_EN: readonly string[] = ['Wait a minute, then load the page again.', 'If it lasts, tell the help desk.'];
const CHOOSE_ZH = '关闭浏览器的所有窗口后重新打开本页:只有这样,浏览器才会再次询问使用哪张证书。';
const LATER_ZH: readonly string[] = ['请等待一分钟,然后重新加载本页。', '如果问题持续存在,请告知服务台。'];

const EN: Words = {
  lang: 'en',
  quote: 'If you call for help, read this out:',
  request: 'Request',
  code: 'Code',
  problems: {
    certificate_required: {
      title: 'Your certificate is needed', why: 'This page is only shown to those who identify themselves with a certificate, and your browser has not shown one.',
      steps: ['If your certificate is on a card or USB key, insert it.', CHOOSE_EN, 'It may have expired: browsers do not offer certificates that have ended. Ask for a new one.', 'On a new computer or telephone, your certificate has to be installed first: ask the help desk.'],
    },
    certificate_rejected: {
      title: 'Your certificate was not accepted', why: 'Your browser has shown a certificate that this service does not accept. It may have expired, been withdrawn, or be meant for something else.',
      steps: [
        'Look at the dates of your certificate in the settings of the browser, under security and certificates. If it has ended, ask for a new one.',
        'If you have several certificates, use another one.', CHOOSE_EN, 'Check that the date and time of this computer are right.',
      ],
    },
    role_denied: { title: 'You may not see this page', why: 'You are known here, but this page is not for you.', steps: ['Check the address.', 'If you need it for your work, ask the help desk.'] },
    step_up_required: { title: 'A second proof is needed', why: 'Beside your certificate this page needs a code or a security key.', steps: ['Open the page again in the browser and follow what it asks.', 'If nothing is set up for you yet, ask the help desk.'] },
    invalid_token: { title: 'Please sign in again', why: 'The proof of your sign-in is missing or is no longer good.', steps: ['Go back to the application and sign in again.'] },
    not_found: { title: 'Page not found', why: 'There is no such page here.', steps: ['Check the address.'] },
    misdirected: { title: 'Please open the page again', why: 'The browser has used a connection to another address of this service.', steps: ['Load the page again.', 'If that does not help, close all windows of the browser first.'] },
    rate_limited: { title: 'Too many requests', why: 'More was asked for than is allowed in a short time.', steps: ['Wait a few minutes, then load the page again.'] },
    suspended: { title: 'This service is paused', why: 'It was switched off for the time being.', steps: ['Try again later.', 'In an emergency, use the way that your department has for when computers are down.'] },
    overloaded: { title: 'The service is busy', why: 'Your request could not be taken at the moment.', steps: LATER_EN },
    upstream_unavailable: { title: 'The service cannot be reached', why: 'You are known here, but the application behind this address does not answer.', steps: LATER_EN },
    upstream_timeout: { title: 'The service takes too long', why: 'The application behind this address has not answered in time.', steps: LATER_EN },
    request_timeout: { title: 'The request took too long', why: 'Your request did not arrive in time.', steps: ['Check the network connection and load the page again.'] },
    body_too_large: { title: 'That is too large', why: 'What was sent is larger than this page takes.', steps: ['Send a smaller file.'] },
    headers_too_large: { title: 'The request could not be read', why: 'The browser has sent more than fits.', steps: ['Delete the cookies of this site, then load the page again.'] },
    bad_request: { title: 'The request could not be read', why: 'What the browser has sent is not understood here.', steps: ['Check the address, then load the page again.'] },
  },
};

const ZH: Words = {
  lang: 'zh-CN',
  quote: '如需帮助,请告知以下内容:',
  request: '请求编号',
  code: '代码',
  problems: {
    certificate_required: { title: '需要您的证书', why: '本页只向出示证书的人显示,而您的浏览器没有出示证书。', steps: ['如果您的证书在卡或 USB Key 中,请插入。', CHOOSE_ZH, '证书可能已过期:浏览器不会提供已到期的证书。请申请新证书。', '在新的电脑或手机上需要先安装证书:请联系服务台。'] },
    certificate_rejected: { title: '您的证书未被接受', why: '您的浏览器出示的证书不被本服务接受。它可能已过期、已被撤销,或用于其他用途。', steps: ['在浏览器设置的“安全”或“证书”中查看证书的有效期。如已到期,请申请新证书。', '如果您有多张证书,请使用另一张。', CHOOSE_ZH, '请检查本机的日期和时间是否正确。'] },
    role_denied: { title: '您无权查看本页', why: '系统认得您,但本页不向您开放。', steps: ['请检查网址。', '如工作需要,请联系服务台。'] },
    step_up_required: { title: '需要第二种验证', why: '除证书外,本页还需要验证码或安全密钥。', steps: ['请在浏览器中重新打开本页,并按提示操作。', '如果尚未为您设置,请联系服务台。'] },
    invalid_token: { title: '请重新登录', why: '登录凭据缺失或已失效。', steps: ['请返回应用并重新登录。'] },
    not_found: { title: '找不到页面', why: '此处没有该页面。', steps: ['请检查网址。'] },
    misdirected: { title: '请重新打开页面', why: '浏览器使用了通往本服务另一地址的连接。', steps: ['请重新加载本页。', '如无效,请先关闭浏览器的所有窗口。'] },
    rate_limited: { title: '请求过多', why: '短时间内的请求超过了允许的次数。', steps: ['请等待几分钟,然后重新加载本页。'] },
    suspended: { title: '服务已暂停', why: '该服务暂时停用。', steps: ['请稍后再试。', '紧急情况下,请按本科室的停机应急流程处理。'] },
    overloaded: { title: '服务繁忙', why: '目前无法受理您的请求。', steps: LATER_ZH },
    upstream_unavailable: { title: '无法连接服务', why: '系统认得您,但该地址后面的应用没有应答。', steps: LATER_ZH },
    upstream_timeout: { title: '服务响应超时', why: '该地址后面的应用没有及时应答。', steps: LATER_ZH },
    request_timeout: { title: '请求超时', why: '您的请求没有及时到达。', steps: ['请检查网络连接,然后重新加载本页。'] },
    body_too_large: { title: '内容过大', why: '发送的内容超过了本页允许的大小。', steps: ['请发送较小的文件。'] },
    headers_too_large: { title: '无法读取请求', why: '浏览器发送的内容过多。', steps: ['请删除本网站的 Cookie,然后重新加载本页。'] },
    bad_request: { title: '无法读取请求', why: '无法理解浏览器发送的内容。', steps: ['请检查网址,然后重新加载本页。'] },
  },
};

const WORDS: Readonly<Record<Language, Words>> = { en: EN, zh: ZH };

/** The header fields of such a page, but for its length: name, value, name, value…. Nothing is fetched, run or framed. */
export const PROBLEM_PAGE_FIELDS: readonly string[] = [
  'content-type', 'text/html; charset=utf-8', 'content-security-policy', `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'x-content-type-options', 'nosniff', 'referrer-policy', 'same-origin', 'vary', 'Accept, Accept-Language, Sec-Fetch-Mode',
];

/** A problem as a page for people. `help`: whom they can ask, as the configuration has it. */
export function problemPage(code: ProblemCode, requestId: string, language: Language, help: string | undefined): string {
  const words = WORDS[language];
  const { title, why, steps } = words.problems[code];
  return html`<!doctype html>
<html lang="${words.lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>${{ html: STYLE }}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p>${why}</p>
<ul class="steps">${steps.map((step): Html => html`
<li>${step}</li>`)}
</ul>
${help === undefined ? undefined : html`<p class="help">${help}</p>`}
<section class="quote">
<p>${words.quote}</p>
<dl><dt>${words.request}</dt><dd><code>${requestId}</code></dd><dt>${words.code}</dt><dd><code>${code}</code></dd></dl>
</section>
</main>
</body>
</html>
`.html;
}
