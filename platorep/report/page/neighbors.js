// Who is near whom, decoded when it is needed, and on how many of them two layers agree.

const encoded = new Map(content.neighbors.map(each => [`${each.layer} ${each.model}`, each]));
const decoded = new Map();

const hasNeighbors = (label, layer) => encoded.has(`${layer} ${label}`);

// {k, of: row => its k nearest, the nearest first}; null: they are not on the page.
function neighborsOf(label, layer) {
  const key = `${layer} ${label}`;
  if (!encoded.has(key)) return null;
  if (!decoded.has(key)) {
    const {data, k} = encoded.get(key);
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const lists = new (content.n > 65536 ? Uint32Array : Uint16Array)(bytes.buffer);
    decoded.set(key, {k, of: row => lists.subarray(row * k, (row + 1) * k)});
  }
  return decoded.get(key);
}

// {x, y, k, shared: of each of the n rows, how many of its k neighbors both have, mean}, or null.
function agreementOf(pair, layers) {
  if (!pair || pair.kind === "shuffled") return null;
  const x = neighborsOf(pair.x, layers[0]), y = neighborsOf(pair.y, layers[1]);
  if (!x || !y) return null;
  const k = Math.min(x.k, y.k);
  const shared = Uint16Array.from({length: content.n}, (_, row) => {
    const near = new Set(x.of(row).subarray(0, k));
    return y.of(row).subarray(0, k).reduce((sum, other) => sum + near.has(other), 0);
  });
  return {x, y, k, shared, mean: shared.reduce((sum, value) => sum + value, 0) / content.n};
}

// How many of n rows would share 0 ... k of their k neighbors by chance: hypergeometric.
function expected(n, k) {
  const others = n - 1;
  const logs = [0];
  for (let i = 1; i <= others; i++) logs.push(logs[i - 1] + Math.log(i));
  const choose = (all, some) => some < 0 || some > all ? -Infinity : logs[all] - logs[some] - logs[all - some];
  return Array.from({length: k + 1}, (_, shared) =>
    n * Math.exp(choose(k, shared) + choose(others - k, k - shared) - choose(others, k)));
}
