"""Slow definitions of the metrics: loops, sets, numpy in float64. Imports nothing from platorep."""

import itertools
import math

import numpy as np

DIGITS = 12  # two similarities that agree to so many digits are equal


def similarity(x: np.ndarray, i: int, j: int, kind: str) -> float:
    a, b = x[i], x[j]
    if kind == "inner_product":
        return round(math.fsum(a * b), DIGITS)
    if kind == "euclidean":
        return -round(math.sqrt(math.fsum((a - b) ** 2)), DIGITS)
    lengths = math.sqrt(math.fsum(a * a)) * math.sqrt(math.fsum(b * b))
    return round(math.fsum(a * b) / lengths, DIGITS) if lengths else 0.0


def shares(x: np.ndarray, k: int, kind: str = "cosine", center: bool = False) -> np.ndarray:
    """How likely j is among the k nearest of i, equal candidates in random order (n n)."""
    x = x - x.mean(axis=0) if center else x
    n = len(x)
    found = np.zeros((n, n))
    for i in range(n):
        values = {j: similarity(x, i, j, kind) for j in range(n) if j != i}
        for j, value in values.items():
            above = sum(other > value for other in values.values())
            equal = sum(other == value for other in values.values())
            found[i, j] = min(1.0, max(0.0, (k - above) / equal))
    return found


def shares_by_enumeration(x: np.ndarray, k: int) -> np.ndarray:
    """The same, by really trying every order of the samples; for a handful of samples."""
    n = len(x)
    found = np.zeros((n, n))
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        for i in range(n):
            candidates = [j for j in order if j != i]
            candidates.sort(key=lambda j: similarity(x, i, j, "cosine"), reverse=True)
            for j in candidates[:k]:
                found[i, j] += 1 / len(orders)
    return found


def lists(x: np.ndarray, k: int, kind: str = "cosine") -> list[list[int]]:
    """The k nearest of every sample in order, of equal ones the lower number first."""
    n = len(x)
    return [
        sorted((j for j in range(n) if j != i), key=lambda j: (-similarity(x, i, j, kind), j))[:k]
        for i in range(n)
    ]


def mutual_knn(
    x: np.ndarray, y: np.ndarray, k: int, kind: str = "cosine", center: bool = False
) -> float:
    overlap = shares(x, k, kind, center) * shares(y, k, kind, center)
    return float(overlap.sum() / (len(x) * k))


def jaccard_knn(x: np.ndarray, y: np.ndarray, k: int) -> float:
    common = (shares(x, k) * shares(y, k)).sum(axis=1)
    return float(np.mean([c / (2 * k - c) for c in common]))


def cycle_knn(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """Probability that i is in x's list of somebody in y's list of i, ties broken at random."""
    n, in_x, in_y = len(x), shares(x, k), shares(y, k)
    hits = 0.0
    for i in range(n):
        certain = [j for j in range(n) if in_y[i, j] == 1]
        tied = [j for j in range(n) if 0 < in_y[i, j] < 1]
        misses = [
            math.prod(1 - in_x[j, i] for j in (*certain, *drawn))
            for drawn in itertools.combinations(tied, k - len(certain))
        ]
        hits += 1 - sum(misses) / len(misses)
    return hits / n


def orders(x: np.ndarray, i: int, k: int) -> list[tuple[int, ...]]:
    """Every list of the k nearest that some order of equal candidates gives."""
    others = [j for j in range(len(x)) if j != i]
    levels: dict[float, list[int]] = {}
    for j in others:
        levels.setdefault(similarity(x, i, j, "cosine"), []).append(j)
    found: list[tuple[int, ...]] = [()]
    for level in sorted(levels, reverse=True):
        places = k - len(found[0])
        if places <= 0:
            break
        ways = list(itertools.permutations(levels[level], min(places, len(levels[level]))))
        if len(found) * len(ways) > 1000:
            return [()] * 1000  # more than anybody wants to try
        found = [(*start, *way) for start in found for way in ways]
    return found


def common_subsequence(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """By trying all subsequences, longest first."""
    for length in range(len(a), 0, -1):
        if set(itertools.combinations(a, length)) & set(itertools.combinations(b, length)):
            return length
    return 0


def levenshtein(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        levenshtein(a[1:], b) + 1,
        levenshtein(a, b[1:]) + 1,
        levenshtein(a[1:], b[1:]) + (a[0] != b[0]),
    )


def rank_similarity(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """The definition of arXiv:2305.06329 for the two ordered lists of one sample."""
    both = set(a) & set(b)
    found = 0.0
    for j in both:
        one, other = a.index(j) + 1, b.index(j) + 1
        found += 2 / ((1 + abs(one - other)) * (one + other))
    return found / sum(1 / m for m in range(1, len(both) + 1)) if both else 0.0


def second_order_cosine(x: np.ndarray, y: np.ndarray, k: int, variant: str) -> float:
    """Cosine of the similarities to everybody who is near in x or in y, ties broken at random."""
    n, in_x, in_y = len(x), shares(x, k), shares(y, k)
    found = []
    for i in range(n):
        vectors, weights = [], []
        for j in range(n):
            weights.append(1 - (1 - in_x[i, j]) * (1 - in_y[i, j]))
            pair = [similarity(z, i, j, "cosine") for z in (x, y)]
            vectors.append(pair if variant == "paper" else [1 - value for value in pair])
        top = math.fsum(w * a * b for w, (a, b) in zip(weights, vectors, strict=True))
        sizes = [
            math.fsum(w * v[side] ** 2 for w, v in zip(weights, vectors, strict=True))
            for side in (0, 1)
        ]
        if min(sizes) > 0:
            found.append(top / math.sqrt(sizes[0] * sizes[1]))
    return float(np.mean(found)) if found else math.nan


def mean_over_orders(x: np.ndarray, y: np.ndarray, k: int, measure: object) -> float:
    """Mean of `measure` over samples and orders; samples with more than 24 orders are left out."""
    found = []
    for i in range(len(x)):
        one, other = orders(x, i, k), orders(y, i, k)
        if len(one) <= 24 and len(other) <= 24:
            found.append(np.mean([measure(a, b) for a in one for b in other]))
    return float(np.mean(found)) if found else math.nan


def kernel(x: np.ndarray, kind: str, sigma: float | None) -> np.ndarray:
    n = len(x)
    if kind == "linear":
        return np.array([[math.fsum(x[i] * x[j]) for j in range(n)] for i in range(n)])
    distance = np.array([[math.dist(x[i], x[j]) for j in range(n)] for i in range(n)])
    if sigma is None:
        sigma = float(np.median([distance[i, j] for i in range(n) for j in range(i)]))
    return np.array([[math.exp(-((d / sigma) ** 2) / 2) for d in row] for row in distance])


def hsic_biased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    n = len(k)
    h = np.eye(n) - 1 / n
    return float(np.trace(k @ h @ l @ h) / (n - 1) ** 2)


def hsic_unbiased(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. (2012), equation 5, term by term."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    one = np.ones(n)
    first = np.trace(k @ l)
    second = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ l @ one)
    return float((first + second - third) / (n * (n - 3)))


def cka(x: np.ndarray, y: np.ndarray, kind: str, sigma: float | None, debiased: bool) -> float:
    # around the mean, so that the oracle itself keeps its digits on nearly constant input
    k, l = (kernel(z - z.mean(axis=0), kind, sigma) for z in (x, y))  # noqa: E741
    hsic = hsic_unbiased if debiased else hsic_biased
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def cknna(x: np.ndarray, y: np.ndarray, k: int, variant: str) -> float:
    n = len(x)

    def masks(z: np.ndarray) -> np.ndarray:
        return shares(z, k, "inner_product")

    if variant == "code":

        def aligned(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
            return hsic_unbiased_of_masked(
                mask, kernel(a, "linear", None), kernel(b, "linear", None)
            )

        top = aligned(x, y, masks(x) * masks(y))
        sizes = aligned(x, x, masks(x)) * aligned(y, y, masks(y))
        return top / (math.sqrt(sizes) + 1e-6) if sizes >= 0 else math.nan

    def centred(z: np.ndarray) -> np.ndarray:
        table = kernel(z, "linear", None)
        if variant == "paper":
            return table - table.mean(axis=1, keepdims=True)
        found = np.zeros((n, n))
        off = table - np.diag(np.diag(table))
        for i in range(n):
            for j in range(n):
                if i != j:
                    found[i, j] = (
                        off[i, j]
                        - off[i].sum() / (n - 2)
                        - off[j].sum() / (n - 2)
                        + off.sum() / ((n - 1) * (n - 2))
                    )
        return found

    def align(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
        return math.fsum((mask * centred(a) * centred(b)).ravel())

    top = align(x, y, masks(x) * masks(y))
    return top / math.sqrt(align(x, x, masks(x)) * align(y, y, masks(y)))


def hsic_unbiased_of_masked(mask: np.ndarray, k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    return hsic_unbiased(mask * k, mask * l)


def rdm(x: np.ndarray, kind: str) -> list[float]:
    found = []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            a, b = x[i], x[j]
            if kind == "correlation":
                a, b = a - a.mean(), b - b.mean()
            if kind == "euclidean":
                found.append(math.dist(a, b))
            else:
                # 1 - cosine is half the squared distance of the unit vectors
                one, other = a / math.sqrt(math.fsum(a * a)), b / math.sqrt(math.fsum(b * b))
                found.append(math.fsum((one - other) ** 2) / 2)
    return [float(f"{value:.9e}") if value > 1e-15 else 0.0 for value in found]


def ranks(values: list[float]) -> list[float]:
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def pearson(a: list[float], b: list[float]) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def kendall(a: list[float], b: list[float]) -> float:
    """tau-b."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    signs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i, j in pairs]
    untied = [sum(s[side] != 0 for s in signs) for side in (0, 1)]
    return sum(s * t for s, t in signs) / math.sqrt(untied[0] * untied[1])


def rsa(x: np.ndarray, y: np.ndarray, kind: str, compare: str) -> float:
    one, other = rdm(x, kind), rdm(y, kind)
    if compare == "spearman":
        return pearson(ranks(one), ranks(other))
    return pearson(one, other) if compare == "pearson" else kendall(one, other)


def distance_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Szekely, Rizzo and Bakirov (2007), definition 4, entry by entry."""

    def centred(z: np.ndarray) -> list[list[float]]:
        n = len(z)
        table = [[math.dist(a, b) for b in z] for a in z]
        means = [math.fsum(row) / n for row in table]
        grand = math.fsum(means) / n
        return [[table[i][j] - means[i] - means[j] + grand for j in range(n)] for i in range(n)]

    def covariance(a: list[list[float]], b: list[list[float]]) -> float:
        return math.fsum(
            p * q for r, s in zip(a, b, strict=True) for p, q in zip(r, s, strict=True)
        )

    a, b = centred(x), centred(y)
    return math.sqrt(covariance(a, b) / math.sqrt(covariance(a, a) * covariance(b, b)))


def debiased_distance_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Szekely and Rizzo (2013), their first form: matrices with a diagonal of their own."""

    def modified(z: np.ndarray) -> np.ndarray:
        n = len(z)
        table = np.array([[math.dist(a, b) for b in z] for a in z])
        means = table.mean(axis=0)
        found = table - means - means[:, None] + table.mean() - table / n
        np.fill_diagonal(found, means - table.mean())
        return found * n / (n - 1)

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        n, products = len(a), a * b
        diagonal = np.trace(products)
        return float(products.sum() - diagonal - 2 / (n - 2) * diagonal)

    a, b = modified(x), modified(y)
    return covariance(a, b) / math.sqrt(covariance(a, a) * covariance(b, b))


def triplet_agreement(
    x: np.ndarray, y: np.ndarray, triplets: list[tuple[int, int, int]], kind: str
) -> float:
    """Share of triplets in the same order; a tie counts half."""
    found = 0.0
    for i, j, k in triplets:
        signs = [np.sign(similarity(z, i, j, kind) - similarity(z, i, k, kind)) for z in (x, y)]
        found += (signs[0] * signs[1] + 1) / 2
    return found / len(triplets)


def principal_axes(x: np.ndarray) -> np.ndarray:
    """The centred features along the eigenvectors of their covariance, largest variance first."""
    x = x - x.mean(axis=0)
    x = x / np.abs(x).max()
    values, vectors = np.linalg.eigh(x.T @ x)
    kept = values > 1e-14 * values.max()
    return (x @ vectors[:, kept])[:, ::-1]


def canonical(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations and the directions of x, from the classical eigenvalue problem.

    x and y are centred and of full rank.
    """
    cxx, cyy, cxy = x.T @ x, y.T @ y, x.T @ y
    problem = np.linalg.solve(cxx, cxy) @ np.linalg.solve(cyy, cxy.T)
    values, vectors = np.linalg.eig(problem)
    best = np.argsort(-values.real)[: min(x.shape[1], y.shape[1])]
    return np.sqrt(np.clip(values.real[best], 0, 1)), vectors.real[:, best]


def cca_mean(x: np.ndarray, y: np.ndarray) -> float:
    return float(canonical(principal_axes(x), principal_axes(y))[0].mean())


def svcca(x: np.ndarray, y: np.ndarray, rank: int) -> float:
    return float(canonical(principal_axes(x)[:, :rank], principal_axes(y)[:, :rank])[0].mean())


def pwcca(x: np.ndarray, y: np.ndarray) -> float:
    axes = principal_axes(x)
    correlations, directions = canonical(axes, principal_axes(y))
    centred = x - x.mean(axis=0)
    weights = []
    for direction in directions.T:
        variable = axes @ direction
        variable /= math.sqrt(math.fsum(variable**2))
        weights.append(sum(abs(math.fsum(variable * unit)) for unit in centred.T))
    return float(np.dot(weights, correlations) / sum(weights))


def procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """1 - d^2 / 2 with d the distance after the best rotation, both centred and of length 1."""
    x, y = ((z - z.mean(axis=0)) / np.linalg.norm(z - z.mean(axis=0)) for z in (x, y))
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    u, _, vt = np.linalg.svd(y.T @ x)
    return float(1 - np.linalg.norm(x - y @ (u @ vt)) ** 2 / 2)


def permutation_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """1 - d^2 / 2 with d the smallest distance over all orders of the units, by trying them."""
    x, y = ((z - z.mean(axis=0)) / np.linalg.norm(z - z.mean(axis=0)) for z in (x, y))
    x, y = (x, y) if x.shape[1] <= y.shape[1] else (y, x)
    x = np.pad(x, ((0, 0), (0, y.shape[1] - x.shape[1])))
    orders = itertools.permutations(range(y.shape[1]))
    return 1 - min(float(np.linalg.norm(x - y[:, order])) for order in orders) ** 2 / 2


def eigenspace_overlap(x: np.ndarray, y: np.ndarray) -> float:
    """Share of the larger span that projects onto the smaller, by pseudoinverses."""
    one, other = (z @ np.linalg.pinv(z) for z in (x, y))
    return float(np.trace(one @ other) / max(np.trace(one), np.trace(other)))


def gulp_similarity(x: np.ndarray, y: np.ndarray, penalty: float) -> float:
    """Proposition 1 of arXiv:2210.06545 in covariances; its inner product over its two lengths."""
    x, y = (z - z.mean(axis=0) for z in (x, y))
    x, y = (z * math.sqrt(len(z)) / np.linalg.norm(z) for z in (x, y))

    def inner(a: np.ndarray, b: np.ndarray) -> float:
        n, across = len(a), a.T @ b / len(a)
        inverse = [np.linalg.inv(z.T @ z / n + penalty * np.eye(z.shape[1])) for z in (a, b)]
        return float(np.trace(inverse[0] @ across @ inverse[1] @ across.T))

    return inner(x, y) / math.sqrt(inner(x, x) * inner(y, y))


def ridge_r2(x: np.ndarray, y: np.ndarray, penalty: float, folds: int | None) -> float:
    """Predict y from x out of fold with an intercept; explained share of the total variance.

    With `folds` the penalty is in units of the training rows' mean squared length; leaving one
    out it is in units of all rows' (and x centred on all rows, which the intercept undoes).
    """
    n = len(x)
    scale = float(np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1)))
    error = 0.0
    for fold in range(folds or n):
        test = [i for i in range(n) if i % (folds or n) == fold]
        train = [i for i in range(n) if i not in test]
        if folds:
            inner = x[train] - x[train].mean(axis=0)
            scale = float(np.mean(np.sum(inner**2, axis=1)))
        design = np.hstack([np.ones((len(train), 1)), x[train]])
        ridge = penalty * scale * np.diag([0.0] + [1.0] * x.shape[1])
        weights = np.linalg.solve(design.T @ design + ridge, design.T @ y[train])
        found = np.hstack([np.ones((len(test), 1)), x[test]]) @ weights
        error += float(np.sum((y[test] - found) ** 2))
    return 1 - error / float(np.sum((y - y.mean(axis=0)) ** 2))


def unit_matching(x: np.ndarray, y: np.ndarray) -> float:
    """Share of units in pairs of each other's highest, positive correlation, as many as can be."""
    x, y = (z[:, z.std(axis=0) > 1e-9] for z in (x, y))
    if not x.shape[1] or not y.shape[1]:
        return math.nan
    table = [[round(float(np.corrcoef(a, b)[0, 1]), DIGITS) for b in y.T] for a in x.T]
    pairs = [
        [
            j
            for j, value in enumerate(row)
            if value > 0 and value == max(row) == max(other[j] for other in table)
        ]
        for row in table
    ]

    def most(i: int, taken: frozenset[int]) -> int:
        if i == len(pairs):
            return 0
        ways = [1 + most(i + 1, taken | {j}) for j in pairs[i] if j not in taken]
        return max([most(i + 1, taken), *ways])

    return most(0, frozenset()) / min(x.shape[1], y.shape[1])


def nearest_sources(
    rows: list[list[float]],
    query: int,
    members: list[int],
    sources: list[int],
    k: int,
) -> dict[int, float]:
    """Source -> its share of the k places, by cosine: filled from the nearest source on.

    A row whose source is the query's own is no candidate; a source is as near as its nearest row;
    sources that are equally near (to 12 digits) share what places are left.
    """

    def cosine(j: int) -> float:
        length = math.hypot(*rows[query]) * math.hypot(*rows[j])
        product = sum(a * b for a, b in zip(rows[query], rows[j], strict=True))
        return round(product / length, 12) if length else 0.0

    near: dict[int, float] = {}
    for j in members:
        if sources[j] != sources[query]:
            near[sources[j]] = max(cosine(j), near.get(sources[j], -2.0))
    shares: dict[int, float] = {}
    left = float(k)
    for value in sorted(set(near.values()), reverse=True):
        tied = [source for source, cos in near.items() if cos == value]
        each = min(1.0, left / len(tied))
        shares |= dict.fromkeys(tied, each) if each > 0 else {}
        left -= each * len(tied)
        if left < 1e-9:
            break
    return shares


def gallery_score(
    x: list[list[float]],
    y: list[list[float]],
    num_queries: int,
    members: list[int],
    sources: list[int],
    k: int,
) -> list[float]:
    """Of every query the share of common sources; with one source per row, of common rows."""
    found = []
    for query in range(num_queries):
        one, other = (nearest_sources(rows, query, members, sources, k) for rows in (x, y))
        found.append(sum(one[s] * other[s] for s in one.keys() & other.keys()) / k)
    return found
