const EN = {
  language: 'English', other: '中文', skip: 'Skip to content', views: 'Views', settings: 'Settings',
  now: 'Now', certificates: 'Certificates', revocation: 'Revocation', upstreams: 'Upstreams', audit: 'Audit', alarms: 'Alarms', reviews: 'Emergencies',
  about: {
    now: 'What the gateway carries at the moment, and what it refuses.', certificates: 'What ends when, and who is connected with which certificate.', revocation: 'Whether what is known of revoked certificates is fresh, and what is denied by order.',
    upstreams: 'The servers behind the gateway, as its threads and its health checks see them.', audit: 'The newest records, masked as they leave the audit, and the chain that holds them.',
    alarms: 'What the audit showed that somebody should look at. It stays open until somebody has.', reviews: 'Who got through in an emergency. Each grant is to be reviewed once it has ended.',
  },
  theme: 'Appearance', themes: { auto: 'As the system', light: 'Light', dark: 'Dark' }, lang: 'Language', signedIn: 'Signed in as', roles: { operator: 'operator', read_only: 'may look only' },
  allGood: 'Nothing is wrong', wrong: (bad, warn) => [bad > 0 && `${bad} to act on`, warn > 0 && `${warn} to keep an eye on`].filter(Boolean).join(', '), seen: (time) => `as of ${time}`, more: (count) => `Show ${count} more`, fewer: 'Show fewer', showAll: 'Show what is wrong', look: 'Look', lookAt: (view) => `Look: ${view}`,
  lost: 'The gateway does not answer', lostWhy: 'What is shown may be old. Trying again…', out: 'This certificate is no longer let in here.', back: 'The gateway answers again',
  problems: {
    reload_failed: () => 'The last reload was refused; the configuration before it serves', certificates_unread: () => 'Changed certificates could not be read; those before serve', pressure: () => 'The process runs short',
    audit_failing: () => 'The audit cannot be written', sink_failing: ({ name }) => `Sink ${name} takes no records; none is lost`, feed_down: () => 'Records are not handed out at the moment; none is lost',
    upstream_down: ({ name }) => `Upstream ${name} serves nobody`, endpoint_down: ({ name }) => `An endpoint is away: ${name}`, crl_expired: ({ name }) => `The CRL of ${name} has ended`, crl_problem: ({ name }) => `A CRL cannot be used: ${name}`,
    source_failing: ({ name }) => `A CRL could not be fetched: ${name}`, responder_failing: ({ name }) => `An OCSP responder fails: ${name}`, certificate_expired: ({ name }) => `Ended: ${name}`, certificate_expiring: ({ name, at }, ago) => `Ends ${ago(at)}: ${name}`,
    alarms_open: ({ count }) => `${count} open ${count === 1 ? 'alarm' : 'alarms'}`, emergencies_open: ({ count }) => `${count} ${count === 1 ? 'emergency grant is' : 'emergency grants are'} open`, reviews_due: ({ count }) => `${count} ${count === 1 ? 'emergency waits' : 'emergencies wait'} for review`,
    suspended: ({ count }) => `${count} ${count === 1 ? 'suspension is' : 'suspensions are'} in force`, draining: ({ name }) => (name === undefined ? 'The gateway is drained: it takes nothing new' : `Listener ${name} is drained: it takes nothing new`), replicas_apart: () => 'The other gateways cannot be reached; each decides by what it knows', token_keys: ({ name }) => `The keys of ${name} cannot be fetched`, backup_missed: ({ name }) => `Missed: ${name}`, temporary: ({ name, at }, ago) => `A temporary certificate is to be replaced, it ends ${ago(at)}: ${name}`, server_certificate: ({ name }) => `A server certificate needs a look: ${name}`,
  },
  todo: {
    reload_failed: 'Correct the file (wardgate check), then reload.', certificates_unread: 'Put a certificate and key there that belong together; wardgate check names the line.', pressure: 'See who connects so often, raise the limit, or add a node.',
    audit_failing: 'Make room on its disk, or correct its rights: clients are refused meanwhile.', sink_failing: 'Look at the receiver.', feed_down: 'The log says why.', upstream_down: 'Look at the server behind it; wardgate diagnose tells the network from its certificate.', endpoint_down: 'The others serve. Look at this one.',
    crl_expired: 'Have its CA publish the next one: until then its certificates are refused, unless OCSP or revocation.unavailable lets them in.', crl_problem: 'Have it published anew, or correct revocation.crl.', source_failing: 'Is it up, and does a firewall let the gateway through? What was fetched stands until it ends.', responder_failing: 'Is it up, and does a firewall let the gateway through? Answers at hand stand until they end.',
    certificate_expired: 'Have it issued anew and replace the file: no restart.', certificate_expiring: 'Have it issued anew and replace the file: no restart.', alarms_open: 'Look at each, then acknowledge it.', emergencies_open: 'Withdraw one that is abused.', reviews_due: 'Review each.', suspended: 'Resume what is over.', draining: 'Undo it when this node is to serve again.',
    replicas_apart: 'Start Redis or Valkey: what other nodes deny is not heard of meanwhile.', token_keys: 'Can the gateway reach the issuer?', backup_missed: 'Run it by hand, then see why its timer did not.', temporary: 'Have the lasting one issued, and put it in its place.', server_certificate: 'Replace it: no restart.',
  },
  tiles: { connections: 'Open connections', requests: 'Requests', perSecond: '/s', denied: 'Denied, last minute', latency: 'Time to answer, p95', none: 'none yet' },
  plots: { requests: 'Answers a second', requestsNote: 'by status', latency: 'Time to answer', latencyNote: 'milliseconds', connections: 'Open connections', denials: 'Denials', denialsNote: 'in two seconds', none: 'No sample yet: they come every two seconds.', of: (what, from) => `${what}, from ${from} until now. Now: ` },
  statuses: { '2xx': 'answered', '3xx': 'redirected', '4xx': 'refused', '5xx': 'failed', '1xx': 'switched' },
  byConnection: 'Connections by listener, protocol and role', listener: 'Listener', protocol: 'Protocol', role: 'Role', count: 'Connections', noConnections: 'Nobody is connected.',
  byReason: 'Denials by reason', byReasonNote: 'the last quarter of an hour', reason: 'Reason', times: 'Times', share: 'Share', noDenials: 'Nothing was denied.', showRecords: 'Records', showRecordsOf: (reason) => `Records of ${reason}`,
  drainingNow: 'Drained', allListeners: 'every listener', undrain: 'Take connections again…', suspendedNow: 'Suspended', scope: 'What', why: 'Why', until: 'Until', resume: 'Resume…', openEnd: 'until it is resumed', isolated: 'isolated',
  timeline: 'What ends when', timelineNote: 'what the gateway shows, what it trusts, CRLs, and certificates that clients have used', timelineOf: (count, first) => `Time line of ${count} certificates. The first to end: ${first}`, today: 'today', span: { d: (n) => `${n} d`, m: (n) => `${n} mo`, y: (n) => `${n} y` },
  held: 'Everything that ends', use: 'Used by', subject: 'Name', ends: 'Ends', uses: { server: 'shown to clients', intermediate: 'intermediate', client: 'shown to servers', ca: 'trusted', crl: 'CRL', user: 'of a client' }, toldOf: (channels, when) => `told ${when}: ${channels}`, replaced: 'renewed', noneHeld: 'None.', andMore: (count) => `and ${count} more, which end later`,
  clients: 'Connected clients', clientsNote: 'by certificate, the first to end first', client: 'Client', addresses: 'From', noClients: 'No client is connected with a certificate.', noRole: 'no role', moreClients: 'There are more than these: find whom you look for.', connectionsOf: 'Connections', connectionsOfWhom: (who) => `Connections of ${who}`, revoke: 'Revoke…', revokeWhom: (who) => `Revoke ${who}`,
  sources: 'Lists of revoked certificates (CRLs)', source: 'Source', entries: 'Entries', age: 'Age', next: 'Ends', state: 'State', fetched: (ago) => `fetched ${ago}`, noSources: 'No CRL is configured.', sourceKinds: { file: 'file', url: 'URL', certificate: 'named by a certificate' }, fresh: 'fresh', valid: 'good', ended: 'ended', endsSoon: 'ends soon', fails: 'fails',
  responders: 'OCSP responders', respondersNote: (count) => `${count} answers are kept`, lastGood: 'Last good answer', noResponders: 'No responder has been asked.', never: 'never',
  denied: 'Deny list', deniedNote: (shown, all) => (shown === all ? `${all} entries` : `${shown} of ${all} entries`), entry: 'What', by: 'By', at: 'When', reinstate: 'Reinstate…', find: 'Find', noDenied: 'Nothing is denied by order.',
  entryKinds: { fingerprint: 'certificate', serial: 'serial number', key: 'every certificate of a key', issuer: 'every certificate of a CA', identity: 'every certificate of', departed: 'has left' },
  endpoint: 'Endpoint', active: 'Under way', answered: 'Answered', failed: 'Failed', noUpstreams: 'No upstream is configured.', endpointStates: { sound: 'serves', failing: 'failing', down: 'down', out: 'left out', trial: 'on trial', slow_start: 'warming up' }, up: 'serves', partly: 'partly away', away: 'serves nobody',
  chain: 'The chain', chainWhole: 'whole', chainBroken: 'broken', chainLines: (lines) => `${lines} of the newest records were held to the one before`, checkpoint: (number, ago) => `checkpoint ${number}, signed ${ago}`, unsigned: 'the last checkpoint does not carry the gateway\'s signature', brokenAt: (segment, seq) => `at number ${seq} of ${segment}`, noCheckpoint: 'no checkpoint yet',
  records: 'Newest records', recordsNote: 'the newest first; what the console itself asks is left out', when: 'When', what: 'What', whom: 'Who', route: 'Route', noRecords: 'No such record among the newest.', result: 'Result', anyResult: 'any', results: { permitted: 'permitted', denied: 'denied', failed: 'failed', done: 'done' }, explain: 'Explain', explainWhich: (reason, time) => `Explain ${reason} of ${time}`,
  explained: 'Why', onRecord: 'On record', decidedNow: 'Decided again, now', decidedNote: 'by the running gateway\'s own code. What is counted, and what stood in the header, is not on record.', unknownCertificate: 'This certificate has not been seen since the gateway started or was last reloaded: it cannot be decided again. Ask: wardgate explain --cert', nowIs: (result, reason) => (reason === undefined ? result : `${result}: ${reason}`), outcomes: { pass: 'passes', deny: 'denies', skip: 'not decisive' },
  alarmsOpen: 'Open', alarmsDone: 'Acknowledged', noAlarms: 'No alarm is open.', noneDone: 'None yet.', noAlarmsConfigured: 'Alarms are not configured (alarms in the configuration).', rule: 'Rule', about2: 'About', opened: 'Opened', last: 'Last', acknowledge: 'Acknowledge…', acknowledgeWhich: (rule) => `Acknowledge ${rule}`, foundTimes: (count) => (count === 1 ? 'once' : `${count} times`), note: 'Note',
  grantsOpen: 'Open now', grantsDue: 'To be reviewed', grantsDone: 'Reviewed', noGrants: 'None.', withdraw: 'Withdraw…', withdrawWhich: (who) => `Withdraw the grant of ${who}`, review: 'Review…', reviewWhich: (who) => `Review the grant of ${who}`, patient: 'patient', said: 'Said', ended2: 'Ended',
  dialog: {
    cancel: 'Cancel', close: 'Close', reason: 'Why', reasonHint: 'It goes on record with your name.', note: 'What you found', needed: 'Say why.', working: 'One moment…',
    revokeTitle: (who) => `Revoke ${who}?`, revokeWhat: 'What is revoked', revokeThis: 'this certificate alone', revokeAll: (id) => `every certificate of ${id}, new ones too`, revokeDo: 'Revoke', revokeHits: (count) => (count === 0 ? 'It has no open connection. From now on it is refused.' : `It ends ${count === 1 ? 'one open connection' : `${count} open connections`} at once, with what is under way on ${count === 1 ? 'it' : 'them'}:`), revoked: 'Revoked; its connections have ended.', own: 'This is your own certificate: you would lose this console at once, and only the command line on the gateway’s machine would let you in again. Nothing was changed.', ownDo: 'Revoke it all the same',
    reinstateTitle: 'Reinstate?', reinstateDo: 'Reinstate', reinstated: 'Reinstated.', resumeTitle: 'Resume?', resumeDo: 'Resume', resumed: 'Resumed.', undrainTitle: 'Take connections again?', undrainDo: 'Take connections', undrained: 'It takes connections again.', acknowledgeTitle: 'Acknowledge the alarm?', acknowledgeDo: 'Acknowledge', acknowledged: 'Acknowledged.',
    withdrawTitle: 'Withdraw the grant?', withdrawDo: 'Withdraw', withdrawn: 'Withdrawn.', reviewTitle: 'Review the grant', reviewDo: 'Reviewed', reviewed: 'Reviewed.',
  },
};

const ZH = {
  language: '中文', other: 'English', skip: '跳到内容', views: '视图', settings: '设置',
  now: '现况', certificates: '证书', revocation: '吊销', upstreams: '上游', audit: '审计', alarms: '告警', reviews: '紧急访问',
  about: {
    now: '网关此刻承载的流量，以及它拒绝的请求。', certificates: '哪些证书何时到期，谁正在用哪张证书连接。', revocation: '吊销信息是否新鲜，以及人工拒绝的对象。', upstreams: '网关背后的服务器：各线程与健康检查所见的状态。',
    audit: '最新记录（按离开审计时的规则脱敏），以及保护它们的哈希链。', alarms: '审计中发现、需要有人查看的事项；有人处理之前一直保持打开。', reviews: '谁在紧急情况下获准访问。每次授权结束后都须复核。',
  },
  theme: '外观', themes: { auto: '跟随系统', light: '浅色', dark: '深色' }, lang: '语言', signedIn: '当前身份', roles: { operator: '操作员', read_only: '只读' },
  allGood: '一切正常', wrong: (bad, warn) => [bad > 0 && `${bad} 项须处理`, warn > 0 && `${warn} 项须留意`].filter(Boolean).join('，'), seen: (time) => `截至 ${time}`, more: (count) => `再显示 ${count} 项`, fewer: '收起', showAll: '显示问题', look: '查看', lookAt: (view) => `查看：${view}`,
  lost: '网关没有应答', lostWhy: '所示内容可能已过时，正在重试……', out: '此证书已不再被允许进入。', back: '网关已恢复应答',
  problems: {
    reload_failed: () => '上次重新加载被拒绝，仍使用之前的配置', certificates_unread: () => '已变更的证书无法读取，仍使用之前的证书', pressure: () => '进程资源不足', audit_failing: () => '审计无法写入', sink_failing: ({ name }) => `接收方 ${name} 不接受记录；没有丢失`, feed_down: () => '记录暂时没有发出；没有丢失',
    upstream_down: ({ name }) => `上游 ${name} 无法服务`, endpoint_down: ({ name }) => `一个端点不可用：${name}`, crl_expired: ({ name }) => `${name} 的 CRL 已过期`, crl_problem: ({ name }) => `CRL 不可用：${name}`, source_failing: ({ name }) => `无法获取 CRL：${name}`, responder_failing: ({ name }) => `OCSP 响应器故障：${name}`,
    certificate_expired: ({ name }) => `已到期：${name}`, certificate_expiring: ({ name, at }, ago) => `${ago(at)}到期：${name}`, alarms_open: ({ count }) => `${count} 个未处理的告警`, emergencies_open: ({ count }) => `${count} 个紧急授权生效中`, reviews_due: ({ count }) => `${count} 个紧急授权待复核`, suspended: ({ count }) => `${count} 项暂停生效中`, draining: ({ name }) => (name === undefined ? '网关正在排空：不再接受新连接' : `监听器 ${name} 正在排空：不再接受新连接`),
    replicas_apart: () => '无法连接其他网关，各自按已知信息决定', token_keys: ({ name }) => `无法获取 ${name} 的密钥`, backup_missed: ({ name }) => `错过了：${name}`, temporary: ({ name, at }, ago) => `临时证书须更换，${ago(at)}到期：${name}`, server_certificate: ({ name }) => `服务器证书须查看：${name}`,
  },
  todo: {
    reload_failed: '改正文件（wardgate check），然后重新加载。', certificates_unread: '请放入相互匹配的证书和私钥；wardgate check 会指出行号。', pressure: '查看是谁频繁连接，提高限额，或增加节点。',
    audit_failing: '请为其磁盘腾出空间，或改正权限：在此期间客户端会被拒绝。', sink_failing: '请查看接收方。', feed_down: '原因见日志。', upstream_down: '请查看其后的服务器；wardgate diagnose 可分辨是网络还是证书的问题。', endpoint_down: '其他端点正常。请查看此端点。',
    crl_expired: '请其 CA 发布下一份：在此之前它的证书会被拒绝，除非 OCSP 或 revocation.unavailable 允许。', crl_problem: '请重新发布，或改正 revocation.crl。', source_failing: '它是否在运行，防火墙是否放行？已获取的在到期前仍有效。', responder_failing: '它是否在运行，防火墙是否放行？已有的应答在到期前仍有效。',
    certificate_expired: '请重新签发并替换文件，无须重启。', certificate_expiring: '请重新签发并替换文件，无须重启。', alarms_open: '逐一查看，然后确认。', emergencies_open: '若被滥用，请撤回。', reviews_due: '请逐一复核。', suspended: '已结束的请恢复。', draining: '此节点要重新服务时，请撤销。',
    replicas_apart: '请启动 Redis 或 Valkey：在此期间收不到其他节点的拒绝。', token_keys: '网关能否连接签发方？', backup_missed: '请手动执行，再查明定时器为何没有执行。', temporary: '请签发正式证书并替换。', server_certificate: '请更换，无须重启。',
  },
  tiles: { connections: '打开的连接', requests: '请求', perSecond: '/秒', denied: '最近一分钟的拒绝', latency: '应答时间 p95', none: '尚无' },
  plots: { requests: '每秒应答', requestsNote: '按状态', latency: '应答时间', latencyNote: '毫秒', connections: '打开的连接', denials: '拒绝', denialsNote: '每两秒', none: '尚无样本：每两秒一个。', of: (what, from) => `${what}，自 ${from} 至今。现在：` },
  statuses: { '2xx': '已应答', '3xx': '已重定向', '4xx': '已拒绝', '5xx': '失败', '1xx': '已切换' },
  byConnection: '按监听器、协议与角色的连接', listener: '监听器', protocol: '协议', role: '角色', count: '连接数', noConnections: '没有连接。',
  byReason: '按原因的拒绝', byReasonNote: '最近一刻钟', reason: '原因', times: '次数', share: '占比', noDenials: '没有拒绝。', showRecords: '记录', showRecordsOf: (reason) => `${reason} 的记录`,
  drainingNow: '已排空', allListeners: '所有监听器', undrain: '重新接受连接……', suspendedNow: '已暂停', scope: '对象', why: '原因', until: '直到', resume: '恢复……', openEnd: '直到恢复', isolated: '已隔离',
  timeline: '何时到期', timelineNote: '网关出示的、信任的，CRL，以及客户端使用过的证书', timelineOf: (count, first) => `${count} 张证书的时间线。最先到期：${first}`, today: '今天', span: { d: (n) => `${n} 天`, m: (n) => `${n} 个月`, y: (n) => `${n} 年` },
  held: '所有会到期的', use: '用于', subject: '名称', ends: '到期', uses: { server: '向客户端出示', intermediate: '中间证书', client: '向服务器出示', ca: '受信任', crl: 'CRL', user: '客户端的' }, toldOf: (channels, when) => `${when}已通知：${channels}`, replaced: '已更新', noneHeld: '无。', andMore: (count) => `另有 ${count} 项更晚到期`,
  clients: '已连接的客户端', clientsNote: '按证书，先到期者在前', client: '客户端', addresses: '来自', noClients: '没有客户端以证书连接。', noRole: '无角色', moreClients: '还有更多：请查找。', connectionsOf: '连接', connectionsOfWhom: (who) => `${who} 的连接`, revoke: '吊销……', revokeWhom: (who) => `吊销 ${who}`,
  sources: '吊销列表（CRL）', source: '来源', entries: '条目', age: '时效', next: '到期', state: '状态', fetched: (ago) => `${ago}获取`, noSources: '没有配置 CRL。', sourceKinds: { file: '文件', url: 'URL', certificate: '由证书指明' }, fresh: '新鲜', valid: '有效', ended: '已过期', endsSoon: '即将到期', fails: '故障',
  responders: 'OCSP 响应器', respondersNote: (count) => `保留了 ${count} 个应答`, lastGood: '上次有效应答', noResponders: '没有询问过响应器。', never: '从未',
  denied: '拒绝列表', deniedNote: (shown, all) => (shown === all ? `${all} 条` : `${all} 条中的 ${shown} 条`), entry: '对象', by: '操作者', at: '时间', reinstate: '恢复……', find: '查找', noDenied: '没有人工拒绝的对象。',
  entryKinds: { fingerprint: '证书', serial: '序列号', key: '同一密钥的所有证书', issuer: '同一 CA 的所有证书', identity: '所有证书，属于', departed: '已离开' },
  endpoint: '端点', active: '进行中', answered: '已应答', failed: '失败', noUpstreams: '没有配置上游。', endpointStates: { sound: '正常', failing: '故障中', down: '不可用', out: '已排除', trial: '试用中', slow_start: '预热中' }, up: '正常', partly: '部分不可用', away: '无法服务',
  chain: '哈希链', chainWhole: '完整', chainBroken: '断裂', chainLines: (lines) => `已核对最新的 ${lines} 条记录`, checkpoint: (number, ago) => `检查点 ${number}，${ago}签名`, unsigned: '最后的检查点没有网关的签名', brokenAt: (segment, seq) => `在 ${segment} 的第 ${seq} 条`, noCheckpoint: '尚无检查点',
  records: '最新记录', recordsNote: '最新在前；控制台自身的请求不列出', when: '时间', what: '事项', whom: '谁', route: '路由', noRecords: '最新记录中没有。', result: '结果', anyResult: '全部', results: { permitted: '允许', denied: '拒绝', failed: '失败', done: '完成' }, explain: '解释', explainWhich: (reason, time) => `解释 ${time} 的 ${reason}`,
  explained: '为什么', onRecord: '记录内容', decidedNow: '现在重新判定', decidedNote: '由运行中的网关自身代码判定。计数与请求头内容不在记录中。', unknownCertificate: '网关启动或上次重新加载后没有见过此证书，无法重新判定。可用：wardgate explain --cert', nowIs: (result, reason) => (reason === undefined ? result : `${result}：${reason}`), outcomes: { pass: '通过', deny: '拒绝', skip: '不决定' },
  alarmsOpen: '未处理', alarmsDone: '已确认', noAlarms: '没有未处理的告警。', noneDone: '尚无。', noAlarmsConfigured: '没有配置告警（配置中的 alarms）。', rule: '规则', about2: '关于', opened: '打开', last: '最近', acknowledge: '确认……', acknowledgeWhich: (rule) => `确认 ${rule}`, foundTimes: (count) => `${count} 次`, note: '备注',
  grantsOpen: '生效中', grantsDue: '待复核', grantsDone: '已复核', noGrants: '无。', withdraw: '撤回……', withdrawWhich: (who) => `撤回 ${who} 的授权`, review: '复核……', reviewWhich: (who) => `复核 ${who} 的授权`, patient: '患者', said: '说明', ended2: '结束',
  dialog: {
    cancel: '取消', close: '关闭', reason: '原因', reasonHint: '将与您的姓名一同记录。', note: '您的结论', needed: '请说明原因。', working: '请稍候……',
    revokeTitle: (who) => `吊销 ${who}？`, revokeWhat: '吊销对象', revokeThis: '仅此证书', revokeAll: (id) => `${id} 的所有证书，包括新证书`, revokeDo: '吊销', revokeHits: (count) => (count === 0 ? '它没有打开的连接。从现在起将被拒绝。' : `将立即终止 ${count} 个打开的连接及其上进行中的内容：`), revoked: '已吊销，其连接已终止。', own: '这是您自己的证书：您将立即失去此控制台，只有在网关机器上用命令行才能恢复。尚未更改任何内容。', ownDo: '仍然吊销',
    reinstateTitle: '恢复？', reinstateDo: '恢复', reinstated: '已恢复。', resumeTitle: '恢复服务？', resumeDo: '恢复', resumed: '已恢复。', undrainTitle: '重新接受连接？', undrainDo: '接受连接', undrained: '已重新接受连接。', acknowledgeTitle: '确认此告警？', acknowledgeDo: '确认', acknowledged: '已确认。',
    withdrawTitle: '撤回授权？', withdrawDo: '撤回', withdrawn: '已撤回。', reviewTitle: '复核授权', reviewDo: '已复核', reviewed: '已复核。',
  },
};

const chosen = localStorage.getItem('wardgate.language') ?? (navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en');
/** The words of the reader's language; switching loads the page anew. */
export const words = chosen === 'zh' ? ZH : EN;
export const language = chosen === 'zh' ? 'zh-CN' : 'en';

export function switchLanguage(to) {
  localStorage.setItem('wardgate.language', to);
  location.reload();
}

const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto', style: 'long' });
const DAY_SECONDS = 86_400;
const UNITS = [['year', 31_557_600], ['month', 2_629_800], ['day', DAY_SECONDS], ['hour', 3_600], ['minute', 60], ['second', 1]];

/** "in 12 days", "3 minutes ago"; ISO 8601 or ms. */
export function ago(time) {
  const seconds = (new Date(time).getTime() - Date.now()) / 1000;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ['second', 1];
  const count = seconds / size;
  // Of a long time nobody takes "in 2 months" for 89 days; of a short one nobody wants to have more than there is.
  return relative.format(size > DAY_SECONDS ? Math.round(count) : Math.trunc(count), unit);
}

const clock = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(language, { dateStyle: 'medium' });
const moment = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23' });

export const timeOf = (time) => clock.format(new Date(time));
export const dayOf = (time) => day.format(new Date(time));
export const momentOf = (time) => moment.format(new Date(time));

const plain = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
export const numberOf = (value) => plain.format(value);
