// MessagePack to values, as far as the service writes it: no extension types. Bytes are copied, so that they are aligned.

const text = new TextDecoder();

class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.at === this.bytes.length;
  }

  value(): unknown {
    const head = this.uint(1);
    if (head < 0x80) return head;
    if (head < 0x90) return this.map(head & 0x0f);
    if (head < 0xa0) return this.list(head & 0x0f);
    if (head < 0xc0) return this.text(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    return this.long(head);
  }

  private long(head: number): unknown {
    if (head === 0xc0) return null;
    if (head === 0xc2 || head === 0xc3) return head === 0xc3;
    if (head >= 0xc4 && head <= 0xc6) return this.take(this.uint(1 << (head - 0xc4))).slice();
    if (head === 0xca) return this.view.getFloat32(this.skip(4));
    if (head === 0xcb) return this.view.getFloat64(this.skip(8));
    if (head >= 0xcc && head <= 0xcf) return this.uint(1 << (head - 0xcc));
    if (head >= 0xd0 && head <= 0xd3) return this.int(1 << (head - 0xd0));
    if (head >= 0xd9 && head <= 0xdb) return this.text(this.uint(1 << (head - 0xd9)));
    if (head === 0xdc || head === 0xdd) return this.list(this.uint(head === 0xdc ? 2 : 4));
    if (head === 0xde || head === 0xdf) return this.map(this.uint(head === 0xde ? 2 : 4));
    throw new TypeError(`MessagePack: type ${head} is not read here`);
  }

  private skip(size: number): number {
    const at = this.at;
    if (at + size > this.bytes.length) throw new TypeError("MessagePack: cut off");
    this.at += size;
    return at;
  }

  private take(size: number): Uint8Array {
    const at = this.skip(size);
    return this.bytes.subarray(at, at + size);
  }

  private uint(size: number): number {
    const at = this.skip(size);
    if (size === 8) return Number(this.view.getBigUint64(at));
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  private int(size: number): number {
    const at = this.skip(size);
    if (size === 8) return Number(this.view.getBigInt64(at));
    return size === 1 ? this.view.getInt8(at) : size === 2 ? this.view.getInt16(at) : this.view.getInt32(at);
  }

  private text(size: number): string {
    return text.decode(this.take(size));
  }

  private list(size: number): unknown[] {
    return Array.from({ length: size }, () => this.value());
  }

  private map(size: number): Record<string, unknown> {
    return Object.fromEntries(Array.from({ length: size }, () => [String(this.value()), this.value()]));
  }
}

/** Read one value. Throws a TypeError for anything else. */
export function decodeMsgpack(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (!reader.done) throw new TypeError("MessagePack: more than one value");
  return value;
}
