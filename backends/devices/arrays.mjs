/* What pages share that run a model for vectors in one file: for each of them, all inputs one after the other. */

export const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
  int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  int64: BigInt64Array, uint64: BigUint64Array,
};

export const size = ({ shape }) => shape.reduce((product, one) => product * one, 1);

/* [{name: typed array}] of all vectors. */
export function vectors(buffer, ports, count) {
  let at = 0;
  const one = (port) => {
    const View = ARRAYS[port.type];
    const bytes = size(port) * View.BYTES_PER_ELEMENT;
    const array = new View(buffer.slice(at, at + bytes));
    at += bytes;
    return [port.name, array];
  };
  return Array.from({ length: count }, () => Object.fromEntries(ports.map(one)));
}

export const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

export const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

export const post = (path, body) => fetch(path, { method: "POST", body });
