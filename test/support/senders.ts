/** An HL7 v2 message in an MLLP frame; `body` is what follows the header segment. */
export function frame(application: string, facility: string, body: string | Buffer, control = '1'): Buffer {
  return Buffer.concat([Buffer.from(`\x0bMSH|^~\\&|${application}|${facility}|EHR|MAIN|20261122||ORU^R01|${control}|P|2.5.1\r`), Buffer.from(body as string), Buffer.from('\x1c\r')]);
}

/** A PDU of DICOM's upper layer (PS3.8 section 9.3). */
export function pdu(type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(6);
  head[0] = type;
  head.writeUInt32BE(body.length, 2);
  return Buffer.concat([head, body]);
}

/** An A-ASSOCIATE-RQ with the application context and nothing more. */
export function associationRequest(calling: string, called: string, { version = 1 }: { version?: number } = {}): Buffer {
  const fixed = Buffer.alloc(68);
  fixed.writeUInt16BE(version, 0);
  fixed.write(called.padEnd(16), 4, 'latin1');
  fixed.write(calling.padEnd(16), 20, 'latin1');
  const context = Buffer.from('1.2.840.10008.3.1.1.1');
  return pdu(1, Buffer.concat([fixed, Buffer.of(0x10, 0, 0, context.length), context]));
}
