/** Read one value. Throws a TypeError for anything else. */
export declare function decodeMsgpack(bytes: Uint8Array): unknown;
