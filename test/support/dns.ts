import { createSocket } from 'node:dgram';

export interface DnsServer {
  readonly port: number;
  /** Names that were asked for, each as often as it was. */
  readonly asked: readonly string[];
  /** Sets what a name stands for: IPv4 and IPv6 addresses; none: the name does not exist. */
  set(name: string, addresses: readonly string[]): void;
  /** Answers with a failure (`servfail`), not at all (`silent`), or as it should. */
  become(manner: 'well' | 'servfail' | 'silent'): void;
  close(): Promise<void>;
}

const A = 1;
const AAAA = 28;
const NXDOMAIN = 3;
const SERVFAIL = 2;

/** A DNS server (RFC 1035) on UDP that knows a few addresses. */
export function startDns(): Promise<DnsServer> {
  const names = new Map<string, readonly string[]>();
  const asked: string[] = [];
  let manner: 'well' | 'servfail' | 'silent' = 'well';
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const { name, end, type } = readQuestion(query);
    asked.push(name);
    if (manner === 'silent') return;
    const known = names.get(name);
    const code = manner === 'servfail' ? SERVFAIL : known === undefined || known.length === 0 ? NXDOMAIN : 0;
    const fitting = code === 0 ? (known ?? []).filter((address) => address.includes(':') === (type === AAAA)) : [];
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8180 | code, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(fitting.length, 6);
    socket.send(Buffer.concat([head, query.subarray(12, end), ...fitting.map((address) => answer(address))]), from.port, from.address);
  });
  return new Promise((done) => socket.bind(0, '127.0.0.1', () => done({
    port: socket.address().port,
    asked,
    set: (name, addresses) => void names.set(name, addresses),
    become(next) {
      manner = next;
    },
    close: () => new Promise((closed) => socket.close(() => closed())),
  })));
}

function readQuestion(query: Buffer): { readonly name: string; readonly end: number; readonly type: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 5, type: query.readUInt16BE(at + 1) };
}

/** One resource record, its name a pointer to the question's. */
function answer(address: string): Buffer {
  const octets = address.includes(':') ? ipv6Octets(address) : Buffer.from(address.split('.').map(Number));
  const record = Buffer.alloc(12);
  record.writeUInt16BE(0xc00c, 0);
  record.writeUInt16BE(address.includes(':') ? AAAA : A, 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt32BE(1, 6);
  record.writeUInt16BE(octets.length, 10);
  return Buffer.concat([record, octets]);
}

function ipv6Octets(address: string): Buffer {
  const [head = [], tail = []] = address.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  const groups = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => '0'), ...tail];
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}
