import type { Language } from '../forward/language.ts';

/** Every text of the pages. */
export interface Words {
  readonly lang: string;
  readonly other: { readonly language: Language; readonly lang: string; readonly name: string };
  readonly languages: string;
  readonly problem: string;
  readonly errorTitle: (title: string) => string;
  readonly signedInAs: (id: string) => string;
  readonly continue: string;
  readonly send: string;

  readonly signIn: string;
  readonly signInWhy: string;
  readonly code: string;
  readonly codeHint: string;
  readonly lostAuthenticator: string;
  readonly bySms: string;
  readonly byTotp: string;
  readonly haveInvitation: string;

  /** Of security keys. */
  readonly keys: {
    readonly why: string;
    readonly use: string;
    readonly instead: string;
    readonly noScript: string;
    readonly unsupported: string;
    readonly failed: string;
    readonly refused: string;
    readonly locked: string;
    readonly known: string;
    readonly notEnrolledWhy: string;
    readonly enrolAny: string;
    readonly enrolAnyWhy: string;
    readonly haveInvitation: string;
    readonly enrol: string;
    readonly enrolWhy: string;
    readonly enrolTotp: string;
    readonly name: string;
    readonly nameHint: string;
    readonly make: string;
  };

  readonly notEnrolled: string;
  readonly notEnrolledWhy: string;

  readonly recovery: string;
  readonly recoveryWhy: string;
  readonly recoveryCode: string;
  readonly recoveryHint: string;

  readonly sms: string;
  readonly smsWhy: (phone: string) => string;
  readonly smsSend: string;
  readonly smsSent: (phone: string) => string;
  readonly smsAgain: string;
  readonly smsCode: string;
  readonly smsCodeHint: string;
  readonly card: string;
  readonly cardHint: string;

  readonly enrol: string;
  readonly enrolWhy: string;
  readonly invitation: string;
  readonly invitationHint: string;
  readonly confirm: string;
  readonly confirmScan: string;
  readonly qrCode: string;
  readonly confirmByHand: string;
  readonly secret: string;
  readonly confirmCode: string;
  readonly confirmDone: string;

  readonly codes: string;
  readonly codesWhy: string;
  readonly codesSaved: string;

  readonly session: string;
  readonly sessionUntil: (minutes: number, idle: number) => string;
  readonly signOut: string;
  readonly signedOut: string;
  readonly signedOutWhy: string;
  readonly signInAgain: string;

  readonly unavailable: string;
  readonly unavailableWhy: string;
  readonly notFound: string;
  readonly notFoundWhy: string;

  readonly errors: {
    readonly code: string;
    readonly codeReused: string;
    readonly recovery: string;
    readonly key: string;
    readonly keyExpired: string;
    readonly keyTaken: string;
    readonly keysMany: string;
    readonly sms: string;
    readonly smsExpired: string;
    readonly smsNotSent: string;
    readonly smsTooSoon: (minutes: number) => string;
    readonly invitation: string;
    readonly invitationExpired: string;
    readonly form: string;
    readonly locked: (minutes: number) => string;
    readonly session: string;
  };
}

const minutesEn = (minutes: number): string => (minutes === 1 ? 'one minute' : `${minutes} minutes`);

const EN: Words = {
  lang: 'en',
  other: { language: 'zh', lang: 'zh-CN', name: '中文' },
  languages: 'Language',
  problem: 'There is a problem',
  errorTitle: (title) => `Error: ${title}`,
  signedInAs: (id) => `Your certificate: ${id}`,
  continue: 'Continue',
  send: 'Continue',

  signIn: 'Confirm that it is you',
  signInWhy: 'This service asks for a code beside your certificate. Open the authenticator app on your phone and type the code that it shows.',
  code: 'Code from your authenticator app',
  codeHint: 'Six digits; a new code every 30 seconds.',
  lostAuthenticator: 'I do not have my authenticator: use a recovery code',
  bySms: 'Get a code by text message instead',
  byTotp: 'Use your authenticator app instead',
  haveInvitation: 'I was given a new invitation code: set up an authenticator app',

  keys: {
    why: 'This service asks for a security key or passkey beside your certificate. Press the button, then do what your browser asks: touch the key, or use your fingerprint, face or PIN.',
    use: 'Use my security key or passkey',
    instead: 'Use your security key or passkey instead',
    noScript: 'A security key needs JavaScript, which is switched off in this browser. Switch it on, or use another way.',
    unsupported: 'This browser cannot use security keys. Use another browser, or another way.',
    failed: 'The key was not used. Try again, or use another way.',
    refused: 'No security key can be used here at the moment. Use another way, or ask the hospital.',
    locked: 'Too many wrong attempts. Try again later.',
    known: 'This key is set up already. Use another one.',
    notEnrolledWhy: 'This service asks for a security key, passkey or code beside your certificate, and none is set up for you yet. Ask the hospital for an invitation code.',
    enrolAny: 'Set up a second factor',
    enrolAnyWhy: 'You need the invitation code that the hospital gave you, and a security key, a passkey or an authenticator app.',
    haveInvitation: 'I was given a new invitation code: set up another security key or authenticator app',
    enrol: 'Set up a security key or passkey',
    enrolWhy: 'Have your security key ready, or use the fingerprint, face or PIN of this device. Press the button, then do what your browser asks.',
    enrolTotp: 'Set up an authenticator app instead',
    name: 'Name of the key (optional)',
    nameHint: 'So that you can tell several keys apart, for example blue key.',
    make: 'Set up the key',
  },

  notEnrolled: 'A second factor is needed',
  notEnrolledWhy: 'This service asks for a code beside your certificate, and none is set up for you yet. Ask the hospital for an invitation code.',

  recovery: 'Use a recovery code',
  recoveryWhy: 'Type one of the recovery codes that you kept when you set up your authenticator app. Each works once.',
  recoveryCode: 'Recovery code',
  recoveryHint: '16 letters and digits, for example 1ABC-2DEF-3GHJ-4KMN.',

  sms: 'Code by text message',
  smsWhy: (phone) => `We will send a code to the phone number that ends in ${phone}. You need your hospital card as well.`,
  smsSend: 'Send me a code',
  smsSent: (phone) => `If a message can be sent to the number that ends in ${phone}, it is on its way. The code is good for five minutes.`,
  smsAgain: 'Send another code',
  smsCode: 'Code from the text message',
  smsCodeHint: 'Six digits.',
  card: 'Number of your hospital card',
  cardHint: 'As it is printed on the card.',

  enrol: 'Set up an authenticator app',
  enrolWhy: 'You need an authenticator app on your phone, and the invitation code that the hospital gave you.',
  invitation: 'Invitation code',
  invitationHint: '16 letters and digits, for example 1ABC-2DEF-3GHJ-4KMN.',
  confirm: 'Connect your authenticator app',
  confirmScan: 'Scan this picture with your authenticator app.',
  qrCode: 'QR code for your authenticator app; the same is written as text below.',
  confirmByHand: 'If you cannot scan it, type this key into the app:',
  secret: 'Key',
  confirmCode: 'Then type the code that the app shows',
  confirmDone: 'Finish',

  codes: 'Keep your recovery codes',
  codesWhy: 'Your authenticator app is connected. If you lose your phone, one of these codes lets you in instead. Each works once. Write them down or print this page; they are not shown again.',
  codesSaved: 'I have kept them: continue',

  session: 'You are signed in',
  sessionUntil: (minutes, idle) => `For ${minutesEn(minutes)} at most. You are signed out earlier when you do not use the service for ${minutesEn(idle)}.`,
  signOut: 'Sign out',
  signedOut: 'You are signed out',
  signedOutWhy: 'To use the service again you need a new code.',
  signInAgain: 'Sign in again',

  unavailable: 'The service is not available',
  unavailableWhy: 'Please try again in a few minutes.',
  notFound: 'Page not found',
  notFoundWhy: 'There is no such page.',

  errors: {
    code: 'The code is not right. Check that the clock of your phone is right, wait for the next code and type it.',
    codeReused: 'This code was used before. Wait for the next one and type it.',
    recovery: 'The recovery code is not right, or was used before.',
    key: 'The security key was not accepted. Try again, or use another one.',
    keyExpired: 'That took too long. Please try again.',
    keyTaken: 'This key is set up already. Use another one.',
    keysMany: 'You have as many keys as you can have. Ask the hospital to remove one.',
    sms: 'The code or the card number is not right.',
    smsExpired: 'The code is no longer good. Ask for another one.',
    smsNotSent: 'The message could not be sent. Try again later, or ask the hospital.',
    smsTooSoon: (minutes) => `Too many messages were asked for. Try again in ${minutesEn(minutes)}.`,
    invitation: 'The invitation code is not right.',
    invitationExpired: 'The invitation code is no longer good. Ask the hospital for another one.',
    form: 'The page was open for too long. Please try again.',
    locked: (minutes) => `Too many wrong codes. Try again in ${minutesEn(minutes)}.`,
    session: 'Your session has ended. Please sign in again.',
  },
};

const ZH: Words = {
  lang: 'zh-CN',
  other: { language: 'en', lang: 'en', name: 'English' },
  languages: '语言',
  problem: '出现问题',
  errorTitle: (title) => `错误：${title}`,
  signedInAs: (id) => `您的证书：${id}`,
  continue: '继续',
  send: '继续',

  signIn: '请确认是您本人',
  signInWhy: '除证书外，本服务还需要一个验证码。请打开手机上的身份验证器应用，输入其中显示的验证码。',
  code: '身份验证器应用中的验证码',
  codeHint: '六位数字，每 30 秒更新一次。',
  lostAuthenticator: '身份验证器不在身边：使用恢复码',
  bySms: '改用短信验证码',
  byTotp: '改用身份验证器应用',
  haveInvitation: '我收到了新的邀请码：设置身份验证器应用',

  keys: {
    why: '除证书外，本服务还需要安全密钥或通行密钥。请点击按钮，然后按照浏览器的提示操作：触摸密钥，或使用指纹、面容或 PIN 码。',
    use: '使用我的安全密钥或通行密钥',
    instead: '改用安全密钥或通行密钥',
    noScript: '使用安全密钥需要 JavaScript，而此浏览器已将其关闭。请启用 JavaScript，或使用其他方式。',
    unsupported: '此浏览器无法使用安全密钥。请更换浏览器，或使用其他方式。',
    failed: '未能使用密钥。请重试，或使用其他方式。',
    refused: '目前无法在此使用安全密钥。请使用其他方式，或咨询医院。',
    locked: '错误次数过多，请稍后再试。',
    known: '此密钥已设置，请使用另一个密钥。',
    notEnrolledWhy: '除证书外，本服务还需要安全密钥、通行密钥或验证码，而您尚未设置。请向医院索取邀请码。',
    enrolAny: '设置第二重验证',
    enrolAnyWhy: '您需要医院给您的邀请码，以及安全密钥、通行密钥或身份验证器应用。',
    haveInvitation: '我收到了新的邀请码：设置另一个安全密钥或身份验证器应用',
    enrol: '设置安全密钥或通行密钥',
    enrolWhy: '请准备好安全密钥，或使用本设备的指纹、面容或 PIN 码。点击按钮，然后按照浏览器的提示操作。',
    enrolTotp: '改为设置身份验证器应用',
    name: '密钥名称（可选）',
    nameHint: '便于区分多个密钥，例如：蓝色密钥。',
    make: '设置密钥',
  },

  notEnrolled: '需要第二重验证',
  notEnrolledWhy: '除证书外，本服务还需要一个验证码，而您尚未设置。请向医院索取邀请码。',

  recovery: '使用恢复码',
  recoveryWhy: '请输入您在设置身份验证器应用时保存的一个恢复码。每个恢复码只能使用一次。',
  recoveryCode: '恢复码',
  recoveryHint: '16 位字母和数字，例如 1ABC-2DEF-3GHJ-4KMN。',

  sms: '短信验证码',
  smsWhy: (phone) => `我们将把验证码发送到尾号为 ${phone} 的手机。您还需要就诊卡。`,
  smsSend: '发送验证码',
  smsSent: (phone) => `如果短信可以送达，验证码将发送到尾号为 ${phone} 的手机，五分钟内有效。`,
  smsAgain: '重新发送验证码',
  smsCode: '短信中的验证码',
  smsCodeHint: '六位数字。',
  card: '就诊卡号',
  cardHint: '请按卡面所印填写。',

  enrol: '设置身份验证器应用',
  enrolWhy: '您需要在手机上安装身份验证器应用，并准备好医院给您的邀请码。',
  invitation: '邀请码',
  invitationHint: '16 位字母和数字，例如 1ABC-2DEF-3GHJ-4KMN。',
  confirm: '关联身份验证器应用',
  confirmScan: '请用身份验证器应用扫描此图。',
  qrCode: '供身份验证器应用扫描的二维码，下方有相同内容的文字。',
  confirmByHand: '如果无法扫描，请在应用中输入此密钥：',
  secret: '密钥',
  confirmCode: '然后输入应用中显示的验证码',
  confirmDone: '完成',

  codes: '请保存恢复码',
  codesWhy: '身份验证器应用已关联。如果手机丢失，您可以用下面的任一恢复码代替。每个恢复码只能使用一次。请抄写或打印本页，恢复码不会再次显示。',
  codesSaved: '我已保存，继续',

  session: '您已登录',
  sessionUntil: (minutes, idle) => `最长还有 ${minutes} 分钟；停止使用 ${idle} 分钟后会自动退出。`,
  signOut: '退出登录',
  signedOut: '您已退出登录',
  signedOutWhy: '再次使用本服务时需要新的验证码。',
  signInAgain: '重新登录',

  unavailable: '服务暂不可用',
  unavailableWhy: '请几分钟后再试。',
  notFound: '找不到页面',
  notFoundWhy: '此页面不存在。',

  errors: {
    code: '验证码不正确。请确认手机时间准确，等待下一个验证码后再输入。',
    codeReused: '此验证码已使用过。请等待下一个验证码后再输入。',
    recovery: '恢复码不正确，或已使用过。',
    key: '安全密钥未被接受。请重试，或使用另一个密钥。',
    keyExpired: '操作超时，请重试。',
    keyTaken: '此密钥已设置，请使用另一个密钥。',
    keysMany: '您的密钥数量已达上限，请联系医院移除一个。',
    sms: '验证码或就诊卡号不正确。',
    smsExpired: '验证码已失效，请重新获取。',
    smsNotSent: '短信发送失败。请稍后再试，或咨询医院。',
    smsTooSoon: (minutes) => `获取验证码过于频繁，请 ${minutes} 分钟后再试。`,
    invitation: '邀请码不正确。',
    invitationExpired: '邀请码已失效，请向医院重新索取。',
    form: '页面打开时间过长，请重试。',
    locked: (minutes) => `错误次数过多，请 ${minutes} 分钟后再试。`,
    session: '您的会话已结束，请重新登录。',
  },
};

export const WORDS: Readonly<Record<Language, Words>> = { en: EN, zh: ZH };
