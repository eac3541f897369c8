import type { Language } from '../forward/language.ts';

/** Every text of the page on which emergencies are declared. */
export interface EmergencyWords {
  readonly title: string;
  readonly why: string;
  readonly answerable: string;
  readonly route: string;
  readonly routeHint: string;
  readonly choose: string;
  readonly reason: string;
  readonly reasonHint: string;
  readonly text: string;
  readonly textHint: string;
  readonly patient: string;
  readonly patientHint: string;
  readonly mayBeLeft: string;
  readonly lasts: (offers: readonly { readonly route: string; readonly minutes: number }[]) => string;
  readonly open: string;

  readonly opened: string;
  readonly ended: string;
  readonly goOn: string;
  readonly another: string;

  readonly openNow: string;
  readonly forPatient: (patient: string) => string;
  readonly forNobody: string;
  readonly until: (minutes: number, clock: string) => string;
  readonly because: (reason: string, text: string) => string;
  readonly end: (route: string, patient: string | undefined) => string;
  readonly several: string;

  readonly nothing: string;
  readonly nothingWhy: string;
  readonly needless: string;
  readonly needlessWhy: (route: string) => string;
  readonly signIn: string;

  readonly errors: {
    readonly route: string;
    readonly reason: string;
    readonly text: string;
    readonly patient: string;
    readonly form: string;
    readonly factor: string;
    readonly limits: string;
    readonly suspended: string;
    readonly denied: string;
  };
}

const minutesEn = (minutes: number): string => (minutes === 1 ? 'one minute' : `${minutes} minutes`);

const EN: EmergencyWords = {
  title: 'Emergency access',
  why: 'In an emergency you can open a service that is not open to you otherwise: for one patient, and for a short time.',
  answerable: 'It is recorded that you do so, and everything that you do under it. Somebody is told at once, and every emergency access is reviewed afterwards.',
  route: 'Service',
  routeHint: 'What you need to use.',
  choose: 'Choose',
  reason: 'Reason',
  reasonHint: 'What kind of emergency it is.',
  text: 'What has happened',
  textHint: 'In your own words, for whoever reviews it; up to 500 characters.',
  patient: 'Patient',
  patientHint: 'The identifier of the patient, exactly as the service writes it.',
  mayBeLeft: 'The identifier of the patient, exactly as the service writes it. Leave this empty where no single patient is concerned.',
  lasts: (offers) => (offers.length === 1
    ? `It ends by itself after ${minutesEn(offers[0]?.minutes ?? 1)}, and is not prolonged.`
    : `It ends by itself, and is not prolonged: ${offers.map(({ route, minutes }) => `${route} after ${minutesEn(minutes)}`).join(', ')}.`),
  open: 'Open emergency access',

  opened: 'Emergency access is open',
  ended: 'Emergency access has ended',
  goOn: 'Continue to the service',
  another: 'Open emergency access for something else',

  openNow: 'Open now',
  forPatient: (patient) => `patient ${patient}`,
  forNobody: 'no single patient',
  until: (minutes, clock) => `${minutesEn(minutes)} left, until ${clock} UTC`,
  because: (reason, text) => `${reason}: ${text}`,
  end: (route, patient) => `End now: ${route}${patient === undefined ? '' : `, patient ${patient}`}`,
  several: 'More than one patient is open for the same service: what does not say whom it concerns is refused until one is left. End what you no longer need.',

  nothing: 'No emergency access',
  nothingWhy: 'There is no service here that you may open in an emergency.',
  needless: 'No emergency access needed',
  needlessWhy: (route) => `You may use ${route} as it is. Nothing was opened.`,
  signIn: 'Sign in with your second factor',

  errors: {
    route: 'Choose a service.',
    reason: 'Choose a reason.',
    text: 'Write what has happened, in 1 to 500 characters.',
    patient: 'Write the identifier of one patient, exactly as the service writes it.',
    form: 'The page was open for too long, or in another browser window. Nothing was opened. Please try again.',
    factor: 'This service asks for a second factor as well. Sign in, then come back to this page.',
    limits: 'You have asked too often. Wait a minute, then try again.',
    suspended: 'This service is stopped at the moment, for emergencies as well.',
    denied: 'Emergency access to this service could not be opened for you here.',
  },
};

const ZH: EmergencyWords = {
  title: '紧急访问',
  why: '遇到紧急情况时，您可以为一名患者短时间开放您平时无权使用的服务。',
  answerable: '您的开放操作以及之后的所有操作都会被记录。系统会立即通知相关人员，每次紧急访问事后都会接受审查。',
  route: '服务',
  routeHint: '您需要使用的服务。',
  choose: '请选择',
  reason: '原因',
  reasonHint: '属于哪一类紧急情况。',
  text: '情况说明',
  textHint: '请用自己的话说明，供审查人员查看；最多 500 个字符。',
  patient: '患者',
  patientHint: '患者编号，须与该服务中的写法完全一致。',
  mayBeLeft: '患者编号，须与该服务中的写法完全一致。如不涉及某一名患者，可留空。',
  lasts: (offers) => (offers.length === 1
    ? `${offers[0]?.minutes ?? 1} 分钟后自动结束，不会延长。`
    : `到时自动结束，不会延长：${offers.map(({ route, minutes }) => `${route} ${minutes} 分钟`).join('，')}。`),
  open: '开放紧急访问',

  opened: '紧急访问已开放',
  ended: '紧急访问已结束',
  goOn: '继续使用该服务',
  another: '为其他情况开放紧急访问',

  openNow: '当前已开放',
  forPatient: (patient) => `患者 ${patient}`,
  forNobody: '不涉及某一名患者',
  until: (minutes, clock) => `剩余 ${minutes} 分钟，至 ${clock}（UTC）`,
  because: (reason, text) => `${reason}：${text}`,
  end: (route, patient) => `立即结束：${route}${patient === undefined ? '' : `，患者 ${patient}`}`,
  several: '同一服务已为多名患者开放：在只剩一名患者之前，未注明患者的请求会被拒绝。请结束不再需要的访问。',

  nothing: '没有紧急访问',
  nothingWhy: '这里没有您可以在紧急情况下开放的服务。',
  needless: '无需紧急访问',
  needlessWhy: (route) => `您可以直接使用 ${route}，未开放任何紧急访问。`,
  signIn: '用第二因素登录',

  errors: {
    route: '请选择服务。',
    reason: '请选择原因。',
    text: '请填写情况说明，1 至 500 个字符。',
    patient: '请填写一名患者的编号，须与该服务中的写法完全一致。',
    form: '页面打开时间过长，或在其他浏览器窗口中打开。未开放任何访问，请重试。',
    factor: '此服务还需要第二因素验证。请先登录，再返回本页。',
    limits: '请求过于频繁，请稍等一分钟后再试。',
    suspended: '此服务目前已暂停，紧急情况下也不可用。',
    denied: '未能在此为您开放此服务的紧急访问。',
  },
};

export const EMERGENCY_WORDS: Readonly<Record<Language, EmergencyWords>> = { en: EN, zh: ZH };
