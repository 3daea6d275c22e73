//! What every field may hold, in words; and the translation of deserialisation errors into them.

use serde_json::Value;

use super::error::Fault;
use super::path::{FieldPath, Segment};
use super::raw::RawSpec;

/// Allowed values by path pattern: the one place where they are worded.
const ALLOWED: &[(&str, &str)] = &[
    (
        "",
        "a table: name, seed, data, diffusion, model, training, sampler, predict, monte_carlo, output, map, sweep",
    ),
    (
        "name",
        "1 to 200 characters without /, \\ or control characters, no space at either end, not . or ..",
    ),
    ("seed", "an integer from 0 to 2^53 = 9007199254740992"),
    ("data", "a table: [data]"),
    (
        "data.kind",
        r#""points" | "mixture" | "low-rank-mixture" | "file""#,
    ),
    (
        "data.points",
        "a non-empty array of points, each an array of D >= 1 finite numbers",
    ),
    ("data.points[]", "a point: an array of D finite numbers"),
    ("data.points[][]", "a finite number"),
    (
        "data.weights",
        "an array of numbers >= 0 that sum to 1 (within 1e-6), one per component",
    ),
    ("data.weights[]", "a finite number >= 0"),
    (
        "data.means",
        "a non-empty array of means, each an array of D >= 1 finite numbers",
    ),
    ("data.means[]", "a mean: an array of D finite numbers"),
    ("data.means[][]", "a finite number"),
    (
        "data.stds",
        "an array of standard deviations, an array of D numbers >= 0 for each mean",
    ),
    (
        "data.stds[]",
        "an array of D numbers >= 0, one per coordinate",
    ),
    ("data.stds[][]", "a finite number >= 0"),
    (
        "data.covariances",
        "an array of D x D matrices, one for each mean",
    ),
    (
        "data.covariances[]",
        "a symmetric, positive semi-definite D x D matrix, as an array of rows",
    ),
    (
        "data.covariances[][]",
        "a row: an array of D finite numbers",
    ),
    ("data.covariances[][][]", "a finite number"),
    ("data.dimension", "an integer from 1 to 16384"),
    (
        "data.rank",
        "an integer from 1 to the dimension, that of every subspace",
    ),
    ("data.subspaces", "an integer from 1 to 1000"),
    (
        "data.ranks",
        "an array of 1 to 1000 integers from 1 to the dimension, one for each subspace",
    ),
    ("data.ranks[]", "an integer from 1 to the dimension"),
    (
        "data.bases",
        r#""random" | "orthogonal" | an array of D x d matrices with orthonormal columns (U^T U = 1 within 1e-6), each an array of D rows"#,
    ),
    (
        "data.bases[]",
        "a D x d matrix with orthonormal columns (U^T U = 1 within 1e-6), 1 <= d <= D, as an array of D rows",
    ),
    ("data.noise", "a finite number >= 0"),
    ("data.seed", "an integer from 0 to 2^53 = 9007199254740992"),
    ("data.path", "the path of a .csv or .npy file"),
    (
        "data.columns",
        "a non-empty array of column names (.csv) or column numbers from 0, none twice",
    ),
    (
        "data.columns[]",
        "a column name (.csv) or a column number from 0",
    ),
    ("data.standardize", "true or false"),
    ("data.pca", "an integer from 1 to the number of columns"),
    ("data.scale", "a finite number, not 0"),
    ("data.max_rows", "an integer >= 1"),
    ("data.rotation", "a finite number of degrees, for D = 2"),
    ("data.checksum", "16 hexadecimal digits"),
    ("diffusion", "a table: [diffusion]"),
    (
        "diffusion.kind",
        r#""vp" | "edm" | "ou" | "flow" | "expression""#,
    ),
    ("diffusion.beta_min", "a finite number >= 0"),
    ("diffusion.beta_delta", "a finite number >= 0"),
    ("diffusion.convention", r#""vastola" | "song""#),
    (
        "diffusion.alpha",
        r#"an expression in t, such as "cos(pi*t/2)", finite and >= 0 from t_min to t_max"#,
    ),
    (
        "diffusion.sigma",
        r#"an expression in t, such as "sin(pi*t/2)", finite and > 0 from t_min to t_max"#,
    ),
    ("diffusion.t_min", "a finite number >= 1e-12 and < t_max"),
    ("diffusion.t_max", "a finite number > t_min"),
    ("model", "a table: [model]; may be left out with [map]"),
    (
        "model.kind",
        r#""naive" | "linear" | "kernel" | "ntk" | "mlp" | "low-rank""#,
    ),
    ("model.kappa", "a finite number >= 0"),
    ("model.predicts", r#""denoiser" | "score" | "noise""#),
    (
        "model.combine",
        r#""product" | "additive" (linear) | "sum" (kernel)"#,
    ),
    ("model.time", r#""raw" | "log" | "fourier""#),
    ("model.time_count", "an integer from 1 to 1000"),
    ("model.time_period", "a number from 1e-150 to 1e150"),
    ("model.depth", "an integer from 1 to 1000"),
    ("model.activation", r#""relu" | "erf" | "gelu""#),
    ("model.weight_std", "a number from 1e-3 to 1e3"),
    ("model.bias_std", "a number from 0 to 1e3"),
    ("model.width", "an integer from 1 to 131072"),
    ("model.parameterisation", r#""ntk" | "standard""#),
    ("model.precision", r#""f32" | "f64""#),
    (
        "model.rank",
        "an integer from 1 to the data's dimension, that of every subspace",
    ),
    ("model.subspaces", "an integer from 1 to 1000"),
    (
        "model.ranks",
        "an array of 1 to 1000 integers from 1 to the data's dimension, one for each subspace",
    ),
    ("model.ranks[]", "an integer from 1 to the data's dimension"),
    ("model.assignment", r#""soft" | "sharp""#),
    ("model.initial", r#""zero" | "random""#),
    ("model.kernels", "one or more tables: [[model.kernels]]"),
    (
        "model.kernels[]",
        "a table: of, kind, scale, length, order, mixture, offset, power, depth, activation, weight_std, bias_std, expression",
    ),
    (
        "model.kernels[].of",
        r#""x" (all coordinates), "x1", "x2", ... up to the dimension of the data, "t", or "xt" (everything)"#,
    ),
    (
        "model.kernels[].kind",
        r#""rbf" | "matern" | "rational-quadratic" | "dot" | "nngp" | "ntk" | "expression""#,
    ),
    ("model.kernels[].scale", "a number from 1e-150 to 1e150"),
    ("model.kernels[].length", "a number from 1e-150 to 1e150"),
    ("model.kernels[].order", "0.5, 1.5 or 2.5"),
    ("model.kernels[].mixture", "a number from 1e-150 to 1e150"),
    ("model.kernels[].offset", "a number from 0 to 1e150"),
    ("model.kernels[].power", "an integer from 1 to 64"),
    ("model.kernels[].depth", "an integer from 1 to 1000"),
    ("model.kernels[].activation", r#""relu" | "erf" | "gelu""#),
    ("model.kernels[].weight_std", "a number from 1e-3 to 1e3"),
    ("model.kernels[].bias_std", "a number from 0 to 1e3"),
    (
        "model.kernels[].expression",
        r#"an expression in r (the distance), in s (the inner product), or in a and b (one input), such as "exp(-r^2)""#,
    ),
    ("model.features", "one or more tables: [[model.features]]"),
    (
        "model.features[]",
        "a table: of, kind, count, range, width, expressions, placement, centres, length, seed",
    ),
    (
        "model.features[].of",
        r#""x1", "x2", ... up to the dimension of the data, "x" for all of them at once (D >= 2), or "t"; or an array of these, none twice"#,
    ),
    (
        "model.features[].of[]",
        r#""x1", "x2", ... up to the dimension of the data, or "t""#,
    ),
    (
        "model.features[].kind",
        r#""gaussian" | "fourier" | "polynomial" | "expression", or of x: "radial" | "random-fourier" | "relu""#,
    ),
    ("model.features[].count", "an integer from 1 to 20000"),
    (
        "model.features[].range",
        "[low, high]: two finite numbers, low < high",
    ),
    ("model.features[].range[]", "a finite number"),
    ("model.features[].width", "a number from 1e-3 to 1e3"),
    (
        "model.features[].expressions",
        r#"a non-empty array of expressions in the variable that `of` names, such as ["1", "x1", "exp(-x1^2/2)"]"#,
    ),
    (
        "model.features[].expressions[]",
        "an expression in the variable that `of` names (x1 may be written x), finite with its first three derivatives wherever noised data lie",
    ),
    ("model.features[].placement", r#""random" | "grid""#),
    (
        "model.features[].centres",
        "a non-empty array of points, each an array of D finite numbers",
    ),
    (
        "model.features[].centres[]",
        "a point: an array of D finite numbers",
    ),
    ("model.features[].centres[][]", "a finite number"),
    ("model.features[].length", "a number from 1e-150 to 1e150"),
    ("model.features[].seed", "an integer from 0 to 2^53"),
    ("training", "a table: [training]"),
    ("training.objective", r#""dsm" | "esm""#),
    (
        "training.weighting",
        r#""snr" | "uniform" | "sigma2" | "expression""#,
    ),
    (
        "training.weight",
        r#"an expression in t, alpha and sigma, such as "alpha^2/sigma^2", finite and >= 0 from t_min to t_max"#,
    ),
    ("training.samples", "an integer >= 1"),
    ("training.dataset", "an integer >= 1"),
    ("training.per_subspace", "an integer >= 1"),
    ("training.method", r#""k-subspaces" | "gradient""#),
    ("training.restarts", "an integer from 1 to 10000"),
    ("training.draws", "an integer >= 1"),
    ("training.ridge", "a finite number >= 0"),
    ("training.time", "a finite number > 0"),
    ("training.optimizer", r#""gd" | "sgd" | "adam""#),
    ("training.learning_rate", "a finite number > 0"),
    ("training.steps", "an integer from 1 to 100000000"),
    ("training.batch", "an integer from 1 to training.samples"),
    ("training.relative_loss", "a number >= 0 and < 1"),
    ("sampler", "a table: [sampler]"),
    ("sampler.kind", r#""pf-ode" | "reverse-sde""#),
    (
        "sampler.churn",
        "a finite number >= 0 (0 is the probability flow)",
    ),
    (
        "sampler.scheme",
        r#""euler" | "heun" | "ddim" | "adaptive""#,
    ),
    ("sampler.steps", "an integer from 1 to 1000000"),
    ("sampler.grid", r#""uniform" | "log" | "karras""#),
    ("sampler.tolerance", "a number from 1e-14 to 0.1"),
    ("sampler.start", r#""normal" | "standard" | "noised""#),
    ("predict", "a table: [predict]"),
    (
        "predict.statistics",
        r#""sandwich" | "equivalent" | "quenched-layer""#,
    ),
    (
        "predict.methods",
        r#"a non-empty array of "mean-field" | "semiclassical" | "saddle" | "gaussian-field" | "sample-sum" | "fokker-planck" | "gaussian-score" | "smoothed-score" | "linear-rmt", none twice"#,
    ),
    (
        "predict.methods[]",
        r#""mean-field" | "semiclassical" | "saddle" | "gaussian-field" | "sample-sum" | "fokker-planck" | "gaussian-score" | "smoothed-score" | "linear-rmt""#,
    ),
    ("predict.draws", "an integer >= 2"),
    ("predict.data_sets", "an integer >= 2"),
    (
        "predict.particles",
        "an integer >= 8; at least 32 with monte_carlo.start = \"stratified\"",
    ),
    ("predict.tolerance", "a number > 0 and < 1"),
    ("predict.one_loop", "true or false"),
    ("predict.smoothing", "a finite number > 0"),
    ("predict.starts", "an integer from 8 to 100000"),
    (
        "predict.gap",
        "[low, high]: two finite numbers, low < high, inside output.range",
    ),
    ("predict.gap[]", "a finite number"),
    ("monte_carlo", "a table: [monte_carlo]"),
    ("monte_carlo.models", "an integer >= 2"),
    ("monte_carlo.start", r#""stratified" | "random""#),
    (
        "monte_carlo.particles",
        "an integer >= 8; at least 32 with start = \"stratified\"",
    ),
    ("output", "a table: [output]"),
    (
        "output.directions",
        "two or more vectors of D numbers, in more than one dimension",
    ),
    (
        "output.directions[]",
        "a vector of D finite numbers, not all zero",
    ),
    ("output.directions[][]", "a finite number"),
    (
        "output.range",
        "[low, high] with finite low < high, or one such pair per coordinate",
    ),
    ("output.range[]", "a finite number, or a pair [low, high]"),
    ("output.range[][]", "a finite number"),
    ("output.bins", "an integer from 1 to 10000"),
    ("output.densities", "true or false"),
    ("map", "a table: [map]"),
    (
        "map.times",
        "a non-empty array of numbers from diffusion.t_min to diffusion.t_max",
    ),
    (
        "map.times[]",
        "a number from diffusion.t_min to diffusion.t_max",
    ),
    (
        "map.range",
        "[low, high] with finite low < high, or one such pair per coordinate; no end beyond 1e100",
    ),
    ("map.range[]", "a finite number, or a pair [low, high]"),
    ("map.range[][]", "a finite number"),
    ("map.points", "an integer from 2 to 2000"),
    (
        "sweep",
        "a table of dotted keys with non-empty arrays of values",
    ),
];

/// What the field at `path` may hold.
pub(super) fn allowed_for(path: &FieldPath) -> Option<&'static str> {
    let pattern = path.pattern();
    ALLOWED
        .iter()
        .find(|(known, _)| *known == pattern)
        .map(|(_, allowed)| *allowed)
}

/// The spec's own value at `path` is refused, with the wording of the table.
pub(super) fn refuse(path: FieldPath) -> Fault {
    let allowed = allowed_for(&path).unwrap_or("another value");
    Fault::value(path).allowed(allowed)
}

/// Reads a tree into the raw structs.
pub(super) fn deserialize(tree: &Value) -> Result<RawSpec, Fault> {
    require_tables(tree)?;
    serde_path_to_error::deserialize(tree).map_err(|e| translate(tree, &e))
}

/// Serde reads a struct from an array too; a spec must not.
fn require_tables(tree: &Value) -> Result<(), Fault> {
    const TABLES: [&str; 9] = [
        "data",
        "diffusion",
        "model",
        "training",
        "sampler",
        "predict",
        "monte_carlo",
        "output",
        "map",
    ];
    let root = FieldPath::default();
    let elements = |list: &str| {
        let list = FieldPath::of(list);
        let count = list.get(tree).and_then(Value::as_array).map_or(0, Vec::len);
        (0..count).map(move |i| list.index(i))
    };
    let tables = TABLES.into_iter().map(FieldPath::of);
    let paths = std::iter::once(root)
        .chain(tables)
        .chain(elements("model.features"))
        .chain(elements("model.kernels"));
    for path in paths {
        if path.get(tree).is_some_and(|value| !value.is_object()) {
            return Err(refuse(path));
        }
    }
    Ok(())
}

/// Says in the words of this file what serde says in its own.
fn translate(tree: &Value, error: &serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let mut path = FieldPath::default();
    for segment in error.path().iter() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => path.push(Segment::Index(*index)),
            serde_path_to_error::Segment::Map { key } => path.push(Segment::Key(key.clone())),
            _ => break,
        }
    }
    let message = error.inner().to_string();
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let key = quoted.next().unwrap_or_default();
        return unknown_key(with_key(path, key), key, &quoted.collect::<Vec<_>>());
    }
    if message.starts_with("missing field") {
        let path = with_key(path, quoted.next().unwrap_or_default());
        let allowed = allowed_for(&path).unwrap_or("a value");
        return Fault::at(path, "nothing").allowed(allowed);
    }
    wrong_value(tree, path, &message)
}

/// `path` extended by `key`, unless it ends there already.
fn with_key(path: FieldPath, key: &str) -> FieldPath {
    match path.segments().last() {
        Some(Segment::Key(last)) if last == key => path,
        _ => path.key(key),
    }
}

fn unknown_key(path: FieldPath, key: &str, known: &[&str]) -> Fault {
    let mut allowed = known.join(", ");
    if let Some(close) = closest(key, known) {
        allowed = format!("{close} (the closest), or one of {allowed}");
    }
    Fault::at(path, format!("the unknown key {key:?}")).allowed(allowed)
}

fn wrong_value(tree: &Value, path: FieldPath, message: &str) -> Fault {
    let Some(allowed) = allowed_for(&path) else {
        return Fault::value(path).allowed(message);
    };
    let mut allowed = allowed.to_owned();
    let found = path.get(tree).and_then(Value::as_str);
    if let Some(name) = found {
        let names: Vec<&str> = allowed.split('"').skip(1).step_by(2).collect();
        if let Some(close) = closest(name, &names)
            && allowed.starts_with('"')
        {
            allowed = format!("{allowed}; the closest is {close:?}");
        }
    }
    Fault::value(path).allowed(allowed)
}

/// Refuses the keys of the table at `path` that do not belong to its kind.
pub(super) fn refuse_inapplicable(
    tree: &Value,
    path: &FieldPath,
    kind: &str,
    applicable: &[&str],
) -> Result<(), Fault> {
    let Some(Value::Object(table)) = path.get(tree) else {
        return Ok(());
    };
    match table.keys().find(|key| !applicable.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Fault::at(
            path.key(key),
            format!("{key}, which does not apply to {kind}"),
        )
        .allowed(format!("with {kind}: {}", applicable.join(", ")))),
    }
}

/// The name nearest to `word`, if it is near enough to be meant.
fn closest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    let limit = 1 + word.chars().count() / 3;
    names
        .iter()
        .map(|name| (distance(word, name), *name))
        .min()
        .filter(|(d, _)| *d <= limit)
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
