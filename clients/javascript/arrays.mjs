// NumPy's .npz: a ZIP of uncompressed .npy files.

const KINDS = {
  "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array, "<i4": Int32Array, "<i2": Int16Array,
  "|i1": Int8Array, "|u1": Uint8Array, "|b1": Uint8Array,
};

/** Name -> typed array (flat, rows one after another); 64-bit integers as numbers. */
export function readArrays(file) {
  let end = file.length - 22; // the end record, which a comment may follow
  while (end >= 0 && file.readUInt32LE(end) !== 0x06054b50) end--;
  if (end < 0) throw new Error("arrays.npz is no ZIP file");
  const found = {};
  let at = file.readUInt32LE(end + 16);
  for (let left = file.readUInt16LE(end + 10); left > 0; left--) {
    const [named, extra, comment] = [28, 30, 32].map((place) => file.readUInt16LE(at + place));
    const name = file.toString("utf8", at + 46, at + 46 + named);
    if (file.readUInt16LE(at + 10) !== 0) throw new Error(`${name} of arrays.npz is compressed`);
    const local = file.readUInt32LE(at + 42);
    const start = local + 30 + file.readUInt16LE(local + 26) + file.readUInt16LE(local + 28);
    found[name.replace(/\.npy$/, "")] = readArray(file.subarray(start, start + file.readUInt32LE(at + 24)), name);
    at += 46 + named + extra + comment;
  }
  return found;
}

function readArray(bytes, name) {
  const wide = bytes[6] > 1; // format 2 and later
  const start = (wide ? 12 : 10) + (wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const header = bytes.toString("latin1", wide ? 12 : 10, start);
  const Kind = KINDS[/'descr': '([^']+)'/.exec(header)?.[1]];
  if (!Kind || !header.includes("'fortran_order': False")) throw new Error(`${name} is an array of another kind`);
  const values = new Kind(new Uint8Array(bytes.subarray(start)).buffer); // copied, so that it is aligned
  return Kind === BigInt64Array ? Float64Array.from(values, Number) : values;
}
