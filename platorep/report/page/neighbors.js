// Who is near whom, decoded when it is needed, and on how many of them two layers agree.

const encoded = new Map(content.neighbors.map(each => [`${each.layer} ${each.model}`, each]));
const decoded = new Map();

const hasNeighbors = (label, layer) => encoded.has(`${layer} ${label}`);

const placeAt = new Map(content.rows.map((row, place) => [row.index, place]));

// {k, of: index of a row of the page => its k nearest, the nearest first}; null: not on the page.
function neighborsOf(label, layer) {
  const key = `${layer} ${label}`;
  if (!encoded.has(key)) return null;
  if (!decoded.has(key)) {
    const {data, k} = encoded.get(key);
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const lists = new (content.n > 65536 ? Uint32Array : Uint16Array)(bytes.buffer);
    decoded.set(key, {k, of: index => lists.subarray(placeAt.get(index) * k, (placeAt.get(index) + 1) * k)});
  }
  return decoded.get(key);
}

// {x, y, k, shared: Map of index => how many of its k neighbors both have, mean}, or null.
function agreementOf(pair, layers) {
  if (!pair || pair.kind === "shuffled") return null;
  const x = neighborsOf(pair.x, layers[0]), y = neighborsOf(pair.y, layers[1]);
  if (!x || !y) return null;
  const k = Math.min(x.k, y.k);
  const shared = new Map(content.rows.map(({index}) => {
    const near = new Set(x.of(index).subarray(0, k));
    return [index, y.of(index).subarray(0, k).reduce((sum, other) => sum + near.has(other), 0)];
  }));
  return {x, y, k, shared, mean: [...shared.values()].reduce((sum, value) => sum + value, 0) / shared.size};
}

// The share of rows that would have 0 ... k of their k neighbors of n rows in common by chance:
// hypergeometric.
function expected(n, k) {
  const others = n - 1;
  const logs = [0];
  for (let i = 1; i <= others; i++) logs.push(logs[i - 1] + Math.log(i));
  const choose = (all, some) => some < 0 || some > all ? -Infinity : logs[all] - logs[some] - logs[all - some];
  return Array.from({length: k + 1}, (_, shared) =>
    Math.exp(choose(k, shared) + choose(others - k, k - shared) - choose(others, k)));
}
