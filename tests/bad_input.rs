//! Wrong specs: every one is refused with the file, the line, the field, what was found and what is allowed.
//! The messages are kept under `tests/snapshots`, one file per theme.

use std::fmt::Write as _;
use std::path::Path;

use vkernel::spec::{Format, Place, SpecError, load, parse};

/// A valid spec, which the tests break.
const BASE: &str = r#"name = "base"
seed = 1

[data]
kind = "points"
points = [[-1.0], [0.0], [1.0]]

[diffusion]
kind = "vp"
beta_min = 0.1
t_min = 1e-2
t_max = 1.0

[model]
kind = "linear"
predicts = "denoiser"
[[model.features]]
of = "x1"
kind = "gaussian"
count = 16
range = [-1.5, 1.5]
[[model.features]]
of = "t"
kind = "gaussian"
count = 16

[training]
samples = 1024
ridge = 0.1

[sampler]
kind = "pf-ode"
scheme = "ddim"
steps = 80

[predict]
methods = ["mean-field"]

[monte_carlo]
models = 100

[output]
bins = 60
"#;

const NAIVE: &str = r#"[data]
kind = "points"
points = [[0.0]]
[diffusion]
kind = "vp"
[model]
kind = "naive"
"#;

/// The base spec with one part replaced.
fn base_with(from: &str, to: &str) -> String {
    assert_eq!(BASE.matches(from).count(), 1, "{from:?} in the base spec");
    BASE.replace(from, to)
}

/// The base spec with other data.
fn data(table: &str) -> String {
    base_with(
        "kind = \"points\"\npoints = [[-1.0], [0.0], [1.0]]\n",
        table,
    )
}

fn refused(text: &str, format: Format, overrides: &[&str]) -> SpecError {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let source = match format {
        Format::Toml => "bad.toml",
        Format::Json => "bad.json",
    };
    match parse(text, format, source, Path::new("."), &overrides, None) {
        Ok(_) => panic!("accepted:\n{text}\n{overrides:?}"),
        Err(error) => error,
    }
}

/// The messages of many TOML specs, one after the other.
fn messages<S: AsRef<str>>(specs: &[(&str, S)]) -> String {
    let mut all = String::new();
    for (label, text) in specs {
        let error = refused(text.as_ref(), Format::Toml, &[]);
        check(&error);
        writeln!(all, "# {label}\n{error}\n").unwrap();
    }
    all
}

/// What every message must have.
fn check(error: &SpecError) {
    assert!(!error.problems.is_empty());
    for problem in &error.problems {
        assert!(!problem.found.is_empty(), "{problem}");
        assert!(!problem.allowed.is_empty(), "{problem}");
        assert!(!problem.to_string().contains("unexpected"), "{problem}");
    }
}

#[test]
fn the_base_is_valid() {
    for text in [BASE, NAIVE] {
        parse(text, Format::Toml, "base.toml", Path::new("."), &[], None).unwrap();
    }
}

/// The naive spec with another model.
fn model(table: &str) -> String {
    NAIVE.replace("kind = \"naive\"\n", table)
}

/// The naive spec with kernels.
fn kernels(tables: &str) -> String {
    model(&format!("kind = \"kernel\"\n{tables}"))
}

fn one_kernel(keys: &str) -> String {
    kernels(&format!("[[model.kernels]]\n{keys}\n"))
}

/// The naive spec with an infinitely wide network, trained as told.
fn wide_network(training: &str) -> String {
    model(&format!(
        "kind = \"ntk\"\ndepth = 1\n[training]\n{training}\n"
    ))
}

#[test]
fn data_sets() {
    let wide = "kind = \"mixture\"\nmeans = [[0.0]]\nstds = [[1.0]]";
    let flow = wide_network("dataset = 16\ndraws = 8\ntime = 10.0");
    let exact = flow.replace("draws = 8", "draws = 8\nobjective = \"esm\"");
    // The predictions of BASE are asked for by name.
    let predicting = |training: &str, predict: &str| {
        let methods = "methods = [\"mean-field\"]";
        let with = match predict.contains("methods") {
            true => predict.to_owned(),
            false => format!("{methods}\n{predict}"),
        };
        base_with("samples = 1024", training).replace(methods, &with)
    };
    let ridge = wide_network("dataset = 16\ndraws = 8\nridge = 0.1");
    let features = base_with("samples = 1024", "dataset = 128\ndraws = 8");
    let of_width = flow.replace("kind = \"points\"\npoints = [[0.0]]", wide);
    for right in [&flow, &exact, &ridge, &features, &of_width] {
        parse(right, Format::Toml, "right.toml", Path::new("."), &[], None).unwrap();
    }
    let all = messages(&[
        ("no clean points", wide_network("dataset = 0\ntime = 10.0")),
        ("no draws", wide_network("draws = 0\ntime = 10.0")),
        (
            "half a draw",
            wide_network("dataset = 16\ndraws = 0.5\ntime = 10.0"),
        ),
        (
            "samples and a data set",
            wide_network("samples = 128\ndataset = 16\ntime = 10.0"),
        ),
        (
            "draws that do not divide the samples",
            wide_network("samples = 100\ndraws = 8\ntime = 10.0"),
        ),
        (
            "too many samples to count",
            wide_network("dataset = 9000000000000000000\ndraws = 3\ntime = 10.0"),
        ),
        (
            "the exact target of features",
            base_with(
                "samples = 1024",
                "dataset = 128\ndraws = 8\nobjective = \"esm\"",
            ),
        ),
        (
            "the exact target at any number of samples",
            format!("{exact}[predict]\nstatistics = \"equivalent\"\n"),
        ),
        (
            "the exact target of data that have a width",
            exact.replace("kind = \"points\"\npoints = [[0.0]]", wide),
        ),
        (
            "data sets of fresh samples",
            predicting("samples = 1024", "data_sets = 8"),
        ),
        (
            "data sets in closed form",
            format!("{flow}[predict]\nstatistics = \"sandwich\"\ndata_sets = 8\n"),
        ),
        (
            "one data set",
            predicting("dataset = 128\ndraws = 8", "data_sets = 1"),
        ),
        (
            "fewer draws than data sets",
            predicting("dataset = 128\ndraws = 8", "data_sets = 8\ndraws = 7"),
        ),
        (
            "a gap of data sets",
            predicting(
                "dataset = 128\ndraws = 8",
                "methods = [\"saddle\"]\nstatistics = \"equivalent\"\ngap = [0.4, 0.6]",
            ),
        ),
        (
            "data sets of too many points",
            base_with("samples = 1024", "dataset = 200000\ndraws = 2"),
        ),
        (
            "a data set for a model without weights",
            format!("{NAIVE}[training]\ndataset = 16\n"),
        ),
    ]);
    insta::assert_snapshot!(all);
}

#[test]
fn models_of_kernels() {
    let all = messages(&[
        ("no kernels", kernels("")),
        ("unknown kind", one_kernel("of = \"x\"\nkind = \"rbff\"")),
        (
            "unknown key",
            one_kernel("of = \"x\"\nkind = \"rbf\"\nlenght = 1"),
        ),
        ("no length", one_kernel("of = \"x\"\nkind = \"rbf\"")),
        (
            "negative length",
            one_kernel("of = \"x\"\nkind = \"rbf\"\nlength = -1"),
        ),
        (
            "negative scale",
            one_kernel("of = \"x\"\nkind = \"rbf\"\nlength = 1\nscale = -2"),
        ),
        (
            "foreign key",
            one_kernel("of = \"x\"\nkind = \"rbf\"\nlength = 1\ndepth = 2"),
        ),
        (
            "order",
            one_kernel("of = \"x\"\nkind = \"matern\"\nlength = 1\norder = 2"),
        ),
        ("power", one_kernel("of = \"x\"\nkind = \"dot\"\npower = 0")),
        (
            "offset",
            one_kernel("of = \"x\"\nkind = \"dot\"\noffset = -1"),
        ),
        ("no depth", one_kernel("of = \"xt\"\nkind = \"nngp\"")),
        (
            "of a coordinate too many",
            one_kernel("of = \"x2\"\nkind = \"rbf\"\nlength = 1"),
        ),
        (
            "of t only",
            one_kernel("of = \"t\"\nkind = \"rbf\"\nlength = 1"),
        ),
        (
            "no expression",
            one_kernel("of = \"x\"\nkind = \"expression\""),
        ),
        (
            "a symbol too many",
            one_kernel("of = \"x\"\nkind = \"expression\"\nexpression = \"exp(-q)\""),
        ),
        (
            "symbols of two kinds",
            one_kernel("of = \"x\"\nkind = \"expression\"\nexpression = \"r*s\""),
        ),
        (
            "a pair of several inputs",
            one_kernel("of = \"xt\"\nkind = \"expression\"\nexpression = \"a*b\""),
        ),
        (
            "additive",
            kernels(
                "combine = \"additive\"\n[[model.kernels]]\nof = \"x\"\nkind = \"rbf\"\nlength = 1\n",
            ),
        ),
        ("depth 0", model("kind = \"ntk\"\ndepth = 0\n")),
        (
            "negative bias",
            model("kind = \"ntk\"\ndepth = 1\nbias_std = -0.1\n"),
        ),
        (
            "activation",
            model("kind = \"ntk\"\ndepth = 1\nactivation = \"reluu\"\n"),
        ),
        (
            "kernels of a network",
            model("kind = \"ntk\"\ndepth = 1\ncombine = \"sum\"\n"),
        ),
        (
            "period without waves",
            model("kind = \"ntk\"\ndepth = 1\ntime_period = 1.0\n"),
        ),
        (
            "waves without a number",
            model("kind = \"ntk\"\ndepth = 1\ntime = \"fourier\"\n"),
        ),
        (
            "sum of features",
            base_with("kind = \"linear\"", "kind = \"linear\"\ncombine = \"sum\""),
        ),
    ]);
    insta::assert_snapshot!(all);
}

/// A spec of networks with a [training] table.
fn networks(model_keys: &str, training: &str) -> String {
    let table = format!("kind = \"mlp\"\ndepth = 1\n{model_keys}");
    format!("{}\n[training]\n{training}", model(&table))
}

#[test]
fn gradient_flow_and_networks() {
    let kernel = |training: &str| {
        let leaf = "[[model.kernels]]\nof = \"xt\"\nkind = \"rbf\"\nlength = 1.0\n";
        format!("{}\n[training]\n{training}", kernels(leaf))
    };
    let all = messages(&[
        ("time of features", base_with("ridge = 0.1", "time = 1.0")),
        ("time and ridge", kernel("time = 1.0\nridge = 0.1\n")),
        ("negative time", kernel("time = -1.0\n")),
        ("negative ridge", kernel("ridge = -0.1\n")),
        (
            "statistics of a ridge",
            kernel("ridge = 0.1\n[predict]\nstatistics = \"sandwich\"\n"),
        ),
        ("steps of a kernel", kernel("steps = 10\n")),
        (
            "too fine",
            one_kernel("of = \"xt\"\nkind = \"rbf\"\nlength = 1e-4"),
        ),
        (
            "no kernel",
            one_kernel("of = \"x\"\nkind = \"expression\"\nexpression = \"r\""),
        ),
        ("width 0", networks("width = 0\n", "")),
        (
            "parameterisation",
            networks("parameterisation = \"mup\"\n", ""),
        ),
        ("precision", networks("precision = \"f16\"\n", "")),
        ("ridge of networks", networks("", "ridge = 0.1\n")),
        ("time and steps", networks("", "time = 1.0\nsteps = 10\n")),
        ("steps without a rate", networks("", "steps = 10\n")),
        ("batch of descent", networks("", "batch = 10\n")),
        ("batch 0", networks("", "optimizer = \"sgd\"\nbatch = 0\n")),
        (
            "batch larger than all",
            networks("", "optimizer = \"sgd\"\nsamples = 8\nbatch = 9\n"),
        ),
        (
            "time of Adam",
            networks("", "optimizer = \"adam\"\ntime = 1.0\n"),
        ),
        ("optimizer", networks("", "optimizer = \"lion\"\n")),
        ("negative rate", networks("", "learning_rate = -1.0\n")),
        ("early end", networks("", "relative_loss = 1.0\n")),
    ]);
    insta::assert_snapshot!(all);
}

#[test]
fn kernels_and_networks_are_read() {
    let all = [
        model(
            "kind = \"ntk\"\ndepth = 3\nactivation = \"gelu\"\ntime = \"fourier\"\ntime_count = 3\n",
        ),
        kernels(
            "combine = \"sum\"\ntime = \"log\"\n\
             [[model.kernels]]\nof = \"x\"\nkind = \"rbf\"\nlength = 1\n\
             [[model.kernels]]\nof = \"t\"\nkind = \"matern\"\nlength = 1\norder = 2.5\n\
             [[model.kernels]]\nof = \"xt\"\nkind = \"rational-quadratic\"\nlength = 1\nscale = 0.3\n\
             [[model.kernels]]\nof = \"x1\"\nkind = \"expression\"\nexpression = \"exp(-(a-b)^2)\"\n\
             [[model.kernels]]\nof = \"xt\"\nkind = \"ntk\"\ndepth = 2\nactivation = \"erf\"\n",
        ),
        networks("width = 64\nactivation = \"erf\"\n", "time = 10.0\n"),
        networks(
            "initial = \"zero\"\n",
            "optimizer = \"sgd\"\nlearning_rate = 0.1\nsteps = 20\n",
        ),
        networks(
            "parameterisation = \"standard\"\nprecision = \"f64\"\n",
            "optimizer = \"adam\"\n",
        ),
    ];
    for text in all {
        parse(
            &text,
            Format::Toml,
            "kernel.toml",
            Path::new("."),
            &[],
            None,
        )
        .unwrap();
    }
}

#[test]
fn syntax() {
    let toml = messages(&[
        ("duplicate key", base_with("seed = 1", "seed = 1\nseed = 2")),
        (
            "duplicate table",
            format!("{BASE}[data]\nkind = \"points\"\n"),
        ),
        ("no value", base_with("ridge = 0.1", "ridge =")),
        ("unclosed array", base_with("[0.0], [1.0]]", "[0.0], [1.0]")),
        ("nan", base_with("ridge = 0.1", "ridge = nan")),
        ("infinity in an array", base_with("[0.0],", "[-inf],")),
        ("overflow", base_with("ridge = 0.1", "ridge = 1e400")),
        ("a date", base_with("seed = 1", "seed = 2020-01-01")),
        ("empty file", String::new()),
    ]);
    let mut json = String::new();
    for (label, text) in [
        ("not JSON", "{\n \"name\": \"a\",\n}"),
        ("a number that overflows", "{\n \"seed\": 1e999 }"),
        ("NaN", "{\n \"seed\": NaN }"),
        ("null", "{\n \"name\":\n null }"),
        ("duplicate key", "{\n \"seed\": 1,\n \"seed\": 2 }"),
        ("not a table", "[1, 2]"),
        (
            "a table as an array",
            "{\n \"data\":\n [\"points\", [[1]]] }",
        ),
        (
            "wrong type",
            "{\n \"seed\": 1,\n \"data\": {\n  \"kind\": \"points\",\n  \"points\": [\n [1.0],\n [\"a\"]] } }",
        ),
    ] {
        let error = refused(text, Format::Json, &[]);
        check(&error);
        writeln!(json, "# {label}\n{error}\n").unwrap();
    }
    let all = format!("{toml}{json}");
    insta::assert_snapshot!("syntax", all);
}

#[test]
fn keys() {
    let all = messages(&[
        ("unknown table", format!("{BASE}[traning]\nridge = 1.0\n")),
        ("unknown key at the top", base_with("seed = 1", "sed = 1")),
        (
            "unknown key in a table",
            base_with("ridge = 0.1", "rigde = 0.1"),
        ),
        (
            "unknown key in an array",
            base_with("range = [-1.5, 1.5]", "ranges = [-1.5, 1.5]"),
        ),
        (
            "unknown key, nothing close",
            base_with("ridge = 0.1", "zzzzzzzzzzzz = 0.1"),
        ),
        (
            "missing table",
            base_with(
                "[diffusion]\nkind = \"vp\"\nbeta_min = 0.1\nt_min = 1e-2\nt_max = 1.0\n",
                "",
            ),
        ),
        ("missing kind", base_with("kind = \"vp\"\n", "")),
        (
            "missing count",
            base_with("count = 16\nrange = [-1.5, 1.5]", "range = [-1.5, 1.5]"),
        ),
        ("missing points", data("kind = \"points\"\n")),
        (
            "does not apply: kappa",
            base_with("predicts = \"denoiser\"", "kappa = 0.1"),
        ),
        (
            "does not apply: beta_min",
            base_with("kind = \"vp\"", "kind = \"edm\""),
        ),
        (
            "does not apply: width",
            base_with(
                "kind = \"gaussian\"\ncount = 16\nrange",
                "kind = \"fourier\"\nwidth = 0.5\ncount = 16\nrange",
            ),
        ),
        (
            "does not apply: churn",
            base_with("steps = 80", "churn = 1.0"),
        ),
        (
            "does not apply: tolerance",
            base_with("steps = 80", "tolerance = 1e-6"),
        ),
        (
            "does not apply: scale",
            data("kind = \"points\"\npoints = [[1.0]]\nscale = 2.0\n"),
        ),
        (
            "does not apply: path",
            data("kind = \"points\"\npoints = [[1.0]]\npath = \"a.csv\"\n"),
        ),
        (
            "does not apply: training",
            format!("{NAIVE}[training]\nridge = 0.1\n"),
        ),
        (
            "does not apply: features",
            format!("{NAIVE}features = []\n"),
        ),
        (
            "does not apply: statistics",
            format!("{NAIVE}[predict]\nstatistics = \"sandwich\"\n"),
        ),
        (
            "does not apply: draws",
            format!("{NAIVE}[predict]\ndraws = 10\n"),
        ),
    ]);
    insta::assert_snapshot!("keys", all);
}

#[test]
fn types() {
    let all = messages(&[
        (
            "text for a number",
            base_with("ridge = 0.1", "ridge = \"0.1\""),
        ),
        (
            "number for a text",
            base_with("name = \"base\"", "name = 3"),
        ),
        (
            "float for an integer",
            base_with("samples = 1024", "samples = 1024.0"),
        ),
        (
            "negative integer",
            base_with("samples = 1024", "samples = -3"),
        ),
        (
            "number for a flag",
            base_with("methods = [\"mean-field\"]", "one_loop = 1"),
        ),
        (
            "number for a table",
            base_with("[output]\nbins = 60", "[[output]]\nbins = 60"),
        ),
        (
            "text for a list",
            base_with("[\"mean-field\"]", "\"mean-field\""),
        ),
        (
            "flat points",
            data("kind = \"points\"\npoints = [-1.0, 1.0]\n"),
        ),
        (
            "text in points",
            data("kind = \"points\"\npoints = [[-1.0],\n  [\"b\"]]\n"),
        ),
        (
            "three ends",
            base_with("range = [-1.5, 1.5]", "range = [-1.5, 0.0, 1.5]"),
        ),
        (
            "three ends of the output",
            base_with("bins = 60", "range = [-1.5, 0.0, 1.5]"),
        ),
        (
            "features as one table",
            base_with(
                "[[model.features]]\nof = \"x1\"",
                "[model.features]\nof = \"x1\"",
            )
            .replace(
                "[[model.features]]\nof = \"t\"\nkind = \"gaussian\"\ncount = 16\n",
                "",
            ),
        ),
    ]);
    insta::assert_snapshot!("types", all);
}

#[test]
fn names() {
    let all = messages(&[
        (
            "misspelt",
            base_with("scheme = \"ddim\"", "scheme = \"dimm\""),
        ),
        (
            "not a name",
            base_with("scheme = \"ddim\"", "scheme = \"runge-kutta\""),
        ),
        (
            "diffusion without alpha",
            base_with("kind = \"vp\"", "kind = \"expression\"").replace("beta_min = 0.1\n", ""),
        ),
        (
            "diffusion with keys of another kind",
            base_with("kind = \"vp\"", "kind = \"expression\"\nalpha = \"1\""),
        ),
        (
            "a set of all coordinates on the line",
            base_with(
                "kind = \"gaussian\"\ncount = 16\nrange",
                "kind = \"relu\"\ncount = 16\nrange",
            ),
        ),
        (
            "weighting without weight",
            base_with("ridge = 0.1", "weighting = \"expression\""),
        ),
        (
            "unknown statistics",
            base_with("methods = [\"mean-field\"]", "statistics = \"exact\""),
        ),
        (
            "unknown method",
            base_with("[\"mean-field\"]", "[\"mean-field\", \"saddles\"]"),
        ),
        (
            "method twice",
            base_with("[\"mean-field\"]", "[\"mean-field\", \"mean-field\"]"),
        ),
        ("no method", base_with("[\"mean-field\"]", "[]")),
        (
            "method of another family",
            base_with("[\"mean-field\"]", "[\"mean-field\", \"fokker-planck\"]"),
        ),
        (
            "method without proxy noise",
            format!("{NAIVE}[predict]\nmethods = [\"fokker-planck\"]\n"),
        ),
        (
            "method of another sampler",
            base_with(
                "kind = \"pf-ode\"\nscheme = \"ddim\"",
                "kind = \"reverse-sde\"\nscheme = \"heun\"",
            ),
        ),
        ("unknown variable", base_with("of = \"x1\"", "of = \"x2\"")),
        (
            "a name with a slash",
            base_with("name = \"base\"", "name = \"a/b\""),
        ),
    ]);
    insta::assert_snapshot!("names", all);
}

/// The base spec with a written diffusion.
fn schedule(alpha: &str, sigma: &str) -> String {
    base_with(
        "kind = \"vp\"\nbeta_min = 0.1\n",
        &format!("kind = \"expression\"\nalpha = \"{alpha}\"\nsigma = \"{sigma}\"\n"),
    )
}

/// The base spec with written features of x1.
fn written(expressions: &str) -> String {
    base_with(
        "kind = \"gaussian\"\ncount = 16\nrange = [-1.5, 1.5]\n",
        &format!("kind = \"expression\"\nexpressions = {expressions}\n"),
    )
}

/// The base spec with a written weight.
fn weight(text: &str) -> String {
    base_with(
        "ridge = 0.1",
        &format!("ridge = 0.1\nweighting = \"expression\"\nweight = \"{text}\""),
    )
}

#[test]
fn expressions() {
    for good in [
        schedule("cos(pi*t/2)", "sin(pi*t/2)"),
        written("[\"1\", \"x\", \"x1^2\", \"exp(-x^2/2)\"]"),
        weight("alpha^2/sigma^2"),
    ] {
        parse(&good, Format::Toml, "good.toml", Path::new("."), &[], None).unwrap();
    }
    let all = messages(&[
        ("no expression", schedule("exp(-t", "t")),
        ("unknown function", schedule("exponential(-t)", "t")),
        ("unknown variable", schedule("1", "x")),
        ("not finite", schedule("1", "ln(t - 0.5)")),
        ("negative signal", schedule("1 - 2*t", "t")),
        ("no noise", schedule("1", "t - t")),
        ("noise that is removed", schedule("1", "1 - t/2")),
        ("noise that stays", schedule("1", "1")),
        ("no t_max", schedule("1", "t").replace("t_max = 1.0\n", "")),
        (
            "alpha of another kind",
            base_with("kind = \"vp\"", "kind = \"vp\"\nalpha = \"1\""),
        ),
        (
            "a number for alpha",
            schedule("1", "t").replace("\"1\"", "1"),
        ),
        ("no features", written("[]")),
        ("a text for the features", written("\"x\"")),
        ("unknown name", written("[\"1\", \"relu(x)\"]")),
        ("another variable", written("[\"t\"]")),
        ("pole", written("[\"1\", \"1/x\"]")),
        ("no second derivative", written("[\"sqrt(abs(x))\"]")),
        (
            "nothing",
            base_with(
                "kind = \"gaussian\"\ncount = 16\nrange = [-1.5, 1.5]\n",
                "kind = \"expression\"\n",
            ),
        ),
        (
            "count",
            base_with(
                "count = 16\nrange = [-1.5, 1.5]",
                "count = 3\nexpressions = [\"x\"]",
            ),
        ),
        ("width", written("[\"x\"]\nwidth = 0.5")),
        ("negative weight", weight("alpha - 0.5")),
        ("infinite weight", weight("1/(t - 0.01)")),
        ("no weight at all", weight("0*t")),
        ("weight in x", weight("x")),
        (
            "weight of another weighting",
            base_with("ridge = 0.1", "weight = \"1\""),
        ),
        (
            "too deep",
            weight(&format!("{}t{}", "(".repeat(100), ")".repeat(100))),
        ),
    ]);
    insta::assert_snapshot!("expressions", all);
}

#[test]
fn values() {
    let long_points = "kind = \"points\"\npoints = []\n";
    let all = messages(&[
        (
            "seed too large",
            base_with("seed = 1", "seed = 9007199254740993"),
        ),
        ("empty data", data(long_points)),
        ("empty points", data("kind = \"points\"\npoints = [[]]\n")),
        (
            "ragged points",
            data("kind = \"points\"\npoints = [\n  [1.0],\n  [1.0, 2.0],\n]\n"),
        ),
        (
            "rotation on the line",
            data("kind = \"points\"\npoints = [[1.0], [2.0]]\nrotation = 45.0\n"),
        ),
        (
            "rotation in space",
            data("kind = \"points\"\npoints = [[1.0, 2.0, 3.0]]\nrotation = 45.0\n"),
        ),
        (
            "rotation by no number",
            data("kind = \"points\"\npoints = [[1.0, 2.0]]\nrotation = \"45\"\n"),
        ),
        (
            "directions on the line",
            base_with("bins = 60", "directions = [[1.0]]"),
        ),
        (
            "weights do not sum to 1",
            data("kind = \"points\"\npoints = [[1.0], [2.0]]\nweights = [0.5, 0.6]\n"),
        ),
        (
            "negative weight",
            data("kind = \"points\"\npoints = [[1.0], [2.0]]\nweights = [1.5, -0.5]\n"),
        ),
        (
            "too few weights",
            data("kind = \"points\"\npoints = [[1.0], [2.0]]\nweights = [1.0]\n"),
        ),
        ("no widths", data("kind = \"mixture\"\nmeans = [[1.0]]\n")),
        (
            "stds and covariances",
            data("kind = \"mixture\"\nmeans = [[1.0]]\nstds = [[1.0]]\ncovariances = [[[1.0]]]\n"),
        ),
        (
            "negative std",
            data("kind = \"mixture\"\nmeans = [[1.0]]\nstds = [[-1.0]]\n"),
        ),
        (
            "too many stds",
            data("kind = \"mixture\"\nmeans = [[1.0]]\nstds = [[1.0], [1.0]]\n"),
        ),
        (
            "ragged stds",
            data("kind = \"mixture\"\nmeans = [[1.0]]\nstds = [[1.0, 1.0]]\n"),
        ),
        (
            "covariance shape",
            data("kind = \"mixture\"\nmeans = [[1.0]]\ncovariances = [[[1.0, 0.0]]]\n"),
        ),
        (
            "indefinite covariance",
            data(
                "kind = \"mixture\"\nmeans = [[1.0, 1.0]]\ncovariances = [[[1.0, 2.0], [2.0, 1.0]]]\n",
            ),
        ),
        (
            "asymmetric covariance",
            data(
                "kind = \"mixture\"\nmeans = [[1.0, 1.0]]\ncovariances = [[[1.0, 0.5], [0.0, 1.0]]]\n",
            ),
        ),
        ("t_min = t_max", base_with("t_min = 1e-2", "t_min = 1.0")),
        (
            "t_max below the default t_min",
            base_with("t_min = 1e-2\nt_max = 1.0", "t_max = 1e-3"),
        ),
        ("t_min = 0", base_with("t_min = 1e-2", "t_min = 0")),
        (
            "negative beta",
            base_with("beta_min = 0.1", "beta_min = -0.1"),
        ),
        (
            "no noise",
            base_with("beta_min = 0.1", "beta_min = 0\nbeta_delta = 0"),
        ),
        (
            "flow beyond 1",
            base_with("kind = \"vp\"\nbeta_min = 0.1", "kind = \"flow\"")
                .replace("t_max = 1.0", "t_max = 1.5"),
        ),
        (
            "flow without signal",
            base_with("kind = \"vp\"\nbeta_min = 0.1", "kind = \"flow\"")
                .replace("\"denoiser\"", "\"score\"")
                .replace("t_max = 1.0\n", ""),
        ),
        (
            "vp without signal",
            base_with("beta_min = 0.1", "beta_min = 1e4").replace("\"denoiser\"", "\"noise\""),
        ),
        (
            "noise that overflows",
            base_with("kind = \"vp\"\nbeta_min = 0.1", "kind = \"edm\"")
                .replace("t_max = 1.0", "t_max = 1e200"),
        ),
        ("negative kappa", format!("{NAIVE}kappa = -1\n")),
        ("no features", NAIVE.replace("naive", "linear")),
        ("features of t only", base_with("of = \"x1\"", "of = \"t\"")),
        (
            "empty feature set",
            base_with("count = 16\nrange", "count = 0\nrange"),
        ),
        (
            "too many features",
            base_with("count = 16\nrange", "count = 2000\nrange"),
        ),
        (
            "range turned around",
            base_with("[-1.5, 1.5]", "[1.5, -1.5]"),
        ),
        (
            "zero width",
            base_with("range = [-1.5, 1.5]", "width = 0.0"),
        ),
        ("no samples", base_with("samples = 1024", "samples = 0")),
        ("negative ridge", base_with("ridge = 0.1", "ridge = -0.1")),
        (
            "singular fit",
            base_with("samples = 1024\nridge = 0.1", "samples = 100\nridge = 0"),
        ),
        ("no steps", base_with("steps = 80", "steps = 0")),
        (
            "negative churn",
            base_with("kind = \"pf-ode\"", "kind = \"reverse-sde\"\nchurn = -0.5"),
        ),
        (
            "scheme of the SDE",
            base_with(
                "kind = \"pf-ode\"\nscheme = \"ddim\"",
                "kind = \"reverse-sde\"\nscheme = \"adaptive\"",
            ),
        ),
        (
            "an unknown start",
            base_with("steps = 80", "start = \"uniform\""),
        ),
        (
            "a gap from the noised data",
            base_with("steps = 80", "start = \"noised\"").replace(
                "methods = [\"mean-field\"]",
                "statistics = \"equivalent\"\nmethods = [\"saddle\"]\ngap = [0.3, 0.7]",
            ),
        ),
        (
            "scheme with proxy noise",
            format!("{NAIVE}kappa = 0.1\n[sampler]\nscheme = \"ddim\"\n"),
        ),
        (
            "saddle without noise",
            format!(
                "{NAIVE}[sampler]\nkind = \"reverse-sde\"\nchurn = 0\n[predict]\nmethods = [\"saddle\"]\n"
            ),
        ),
        (
            "tolerance",
            base_with(
                "scheme = \"ddim\"",
                "scheme = \"adaptive\"\ntolerance = 0.5",
            ),
        ),
        (
            "one draw",
            base_with("methods = [\"mean-field\"]", "draws = 1"),
        ),
        (
            "too few trajectories per draw",
            base_with("methods = [\"mean-field\"]", "particles = 16"),
        ),
        (
            "no tolerance of the layer",
            base_with("methods = [\"mean-field\"]", "tolerance = 0.0"),
        ),
        (
            "tolerance without a layer",
            base_with(
                "methods = [\"mean-field\"]",
                "statistics = \"sandwich\"\ntolerance = 0.1",
            ),
        ),
        (
            "semiclassical with a layer",
            base_with(
                "methods = [\"mean-field\"]",
                "statistics = \"quenched-layer\"\nmethods = [\"semiclassical\"]",
            ),
        ),
        (
            "sum over samples with the sandwich",
            base_with(
                "methods = [\"mean-field\"]",
                "statistics = \"sandwich\"\nmethods = [\"sample-sum\"]",
            ),
        ),
        (
            "one loop without its method",
            base_with(
                "methods = [\"mean-field\"]",
                "methods = [\"mean-field\"]\none_loop = true",
            ),
        ),
        (
            "one loop without its scheme",
            base_with("methods = [\"mean-field\"]", "one_loop = true").replace("ddim", "heun"),
        ),
        (
            "saddle with a layer",
            base_with(
                "methods = [\"mean-field\"]",
                "statistics = \"quenched-layer\"\nmethods = [\"saddle\"]",
            ),
        ),
        (
            "saddle with a scheme of several stages",
            base_with(
                "methods = [\"mean-field\"]",
                "statistics = \"equivalent\"\nmethods = [\"saddle\"]",
            )
            .replace("ddim", "heun"),
        ),
        (
            "starts without saddle",
            base_with("methods = [\"mean-field\"]", "starts = 10"),
        ),
        (
            "few starts",
            base_with(
                "methods = [\"mean-field\"]",
                "methods = [\"saddle\"]\nstarts = 7",
            ),
        ),
        (
            "gap without saddle",
            base_with("methods = [\"mean-field\"]", "gap = [0.4, 0.6]"),
        ),
        (
            "gap upside down",
            base_with(
                "methods = [\"mean-field\"]",
                "methods = [\"saddle\"]\ngap = [0.6, 0.4]",
            ),
        ),
        (
            "gap out of range",
            base_with(
                "methods = [\"mean-field\"]",
                "methods = [\"saddle\"]\ngap = [0.6, 40.0]",
            ),
        ),
        ("zero models", base_with("models = 100", "models = 0")),
        ("few particles", base_with("models = 100", "particles = 16")),
        (
            "stratified with proxy noise",
            format!("{NAIVE}kappa = 0.1\n[monte_carlo]\nstart = \"stratified\"\n"),
        ),
        ("no bins", base_with("bins = 60", "bins = 0")),
        ("too many bins", base_with("bins = 60", "bins = 100000")),
        ("empty range", base_with("bins = 60", "range = [1.0, 1.0]")),
        (
            "too many ranges",
            base_with("bins = 60", "range = [[0.0, 1.0], [0.0, 1.0]]"),
        ),
    ]);
    insta::assert_snapshot!("values", all);
}

/// Points in the plane and one set of features, as written.
fn plane(features: &str) -> String {
    let plane = data("kind = \"points\"\npoints = [[-1.0, 0.0], [1.0, 0.5]]\n");
    let start = plane.find("[[model.features]]").unwrap();
    let end = plane.find("[training]").unwrap();
    format!("{}{features}\n{}", &plane[..start], &plane[end..])
}

/// What is right in one dimension and wrong in more.
#[test]
fn more_dimensions() {
    let linear = "of = \"x1\"\nkind = \"gaussian\"\ncount = 3";
    let plane = |from: &str, to: &str| {
        let text = plane(&format!("[[model.features]]\n{linear}"));
        assert_eq!(text.matches(from).count(), 1, "{from:?}");
        text.replace(from, to)
    };
    let space = |from: &str, to: &str| {
        plane(from, to).replace(
            "[[-1.0, 0.0], [1.0, 0.5]]",
            "[[-1.0, 0.0, 0.1], [1.0, 0.5, 0.2]]",
        )
    };
    let naive = |points: &str, rest: &str| {
        let data = NAIVE.replace("[[0.0]]", points);
        format!("{data}{rest}")
    };
    let methods = "methods = [\"mean-field\"]";
    for well in [
        plane("bins = 60", "directions = [[1.0, 1.0], [1e300, 0.0]]"),
        space("bins = 60", "range = [[0.0, 1.0], [0.0, 2.0], [-1.0, 1.0]]"),
        naive("[[0.0, 1.0, 2.0]]", "kappa = 0.1\n"),
    ] {
        let read = parse(&well, Format::Toml, "well.toml", Path::new("."), &[], None);
        assert!(read.is_ok(), "{:?}", read.err());
    }
    let all = messages(&[
        (
            "saddle in the plane",
            plane(
                methods,
                "statistics = \"equivalent\"\nmethods = [\"saddle\"]",
            ),
        ),
        ("starts in the plane", plane(methods, "starts = 10")),
        ("one loop in the plane", plane(methods, "one_loop = true")),
        (
            "fokker-planck in three dimensions",
            naive(
                "[[0.0, 1.0, 2.0]]",
                "kappa = 0.1\n[predict]\nmethods = [\"fokker-planck\"]\n",
            ),
        ),
        (
            "reverse SDE in three dimensions",
            naive("[[0.0, 1.0, 2.0]]", "[sampler]\nkind = \"reverse-sde\"\n"),
        ),
        (
            "reverse SDE in the plane from the noised data",
            naive(
                "[[0.0, 1.0]]",
                "[sampler]\nkind = \"reverse-sde\"\nstart = \"noised\"\n",
            ),
        ),
        ("no variables", plane("of = \"x1\"", "of = []")),
        (
            "a variable twice",
            plane("of = \"x1\"", "of = [\"x1\", \"t\", \"x1\"]"),
        ),
        (
            "a variable too many",
            plane("of = \"x1\"", "of = [\"x1\", \"x3\"]"),
        ),
        ("a number of a variable", plane("of = \"x1\"", "of = 1")),
        (
            "a variable beyond many",
            plane("of = \"x1\"", "of = \"x7\"").replace(
                "[[-1.0, 0.0], [1.0, 0.5]]",
                "[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]",
            ),
        ),
        (
            "all coordinates beside time",
            plane("of = \"x1\"", "of = [\"x\", \"t\"]"),
        ),
        (
            "too many products",
            plane("of = \"x1\"", "of = [\"x1\", \"x2\", \"t\"]").replace("count = 3", "count = 28"),
        ),
        (
            "one direction",
            plane("bins = 60", "directions = [[1.0, 0.0]]"),
        ),
        (
            "a direction of another dimension",
            plane("bins = 60", "directions = [[1.0, 0.0], [1.0]]"),
        ),
        (
            "no direction at all",
            plane("bins = 60", "directions = [[1.0, 0.0], [0.0, 0.0]]"),
        ),
        (
            "a flat direction",
            plane("bins = 60", "directions = [1.0, 0.0]"),
        ),
        (
            "ranges of another dimension",
            space("bins = 60", "range = [[0.0, 1.0], [0.0, 1.0]]"),
        ),
        (
            "an empty range",
            plane("bins = 60", "range = [[0.0, 1.0], [1.0, 0.0]]"),
        ),
        ("a gap in the plane", plane(methods, "gap = [0.4, 0.6]")),
    ]);
    insta::assert_snapshot!("more_dimensions", all);
}

#[test]
fn features_of_all_coordinates() {
    let set = |rest: &str| plane(&format!("[[model.features]]\nof = \"x\"\n{rest}"));
    let radial = |rest: &str| set(&format!("kind = \"radial\"\n{rest}"));
    for well in [
        radial("count = 20"),
        radial("count = 4\nplacement = \"grid\"\nrange = [-1.0, 1.0]"),
        radial("centres = [[0.0, 1.0], [1.0, 0.0]]\nlength = 0.5"),
        set("kind = \"random-fourier\"\ncount = 20\nlength = 0.3\nseed = 4"),
        set("kind = \"relu\"\ncount = 20\nrange = [-2.0, 2.0]"),
    ] {
        let read = parse(&well, Format::Toml, "plane.toml", Path::new(""), &[], None);
        assert!(read.is_ok(), "{:?}", read.err());
    }
    let all = messages(&[
        ("another kind", set("kind = \"gaussian\"\ncount = 4")),
        (
            "a coordinate",
            radial("count = 4").replace("of = \"x\"", "of = \"x2\""),
        ),
        ("no count", set("kind = \"relu\"")),
        ("no centres", radial("centres = []")),
        (
            "centres of another dimension",
            radial("centres = [[0.0, 1.0], [1.0]]"),
        ),
        (
            "centres and a count",
            radial("count = 2\ncentres = [[0.0, 1.0]]"),
        ),
        (
            "unknown placement",
            radial("count = 2\nplacement = \"net\""),
        ),
        (
            "a seed for a grid",
            radial("count = 2\nplacement = \"grid\"\nseed = 1"),
        ),
        (
            "a grid too fine",
            radial("count = 200\nplacement = \"grid\""),
        ),
        ("no length", radial("count = 2\nlength = 0.0")),
        (
            "length out of range",
            set("kind = \"random-fourier\"\ncount = 2\nlength = 1e-200"),
        ),
        (
            "seed",
            set("kind = \"relu\"\ncount = 2\nseed = 9007199254740993"),
        ),
        ("width", radial("count = 2\nwidth = 0.5")),
        (
            "range",
            set("kind = \"relu\"\ncount = 2\nrange = [1.0, -1.0]"),
        ),
        (
            "two sets",
            radial("count = 2\n[[model.features]]\nof = \"x1\"\nkind = \"gaussian\"\ncount = 3"),
        ),
        (
            "an additive set of all coordinates",
            radial("count = 2").replace("predicts", "combine = \"additive\"\npredicts"),
        ),
        (
            "unknown combination",
            radial("count = 2").replace("predicts", "combine = \"sum\"\npredicts"),
        ),
        (
            "time alone",
            plane("[[model.features]]\nof = \"t\"\nkind = \"gaussian\"\ncount = 3")
                .replace("predicts", "combine = \"additive\"\npredicts"),
        ),
    ]);
    insta::assert_snapshot!("features_of_all_coordinates", all);
}

#[test]
fn sweeps() {
    let sweep = |axes: &str| format!("{BASE}[sweep]\n{axes}\n");
    let all = messages(&[
        ("not a table", format!("sweep = 3\n{BASE}")),
        ("no list", sweep("\"training.samples\" = 64")),
        ("empty list", sweep("\"training.samples\" = []")),
        ("bad value", sweep("\"training.ridge\" = [0.1, -0.1]")),
        (
            "bad value of the second key",
            sweep("\"training.ridge\" = [0.1]\n\"training.samples\" = [64, 0]"),
        ),
        ("wrong type", sweep("\"training.samples\" = [64, \"many\"]")),
        ("unknown key", sweep("\"training.sample\" = [64]")),
        (
            "some cases only",
            sweep("\"training.samples\" = [512, 128]").replace("ridge = 0.1", "ridge = 0"),
        ),
        ("no such element", sweep("\"model.features.2.count\" = [8]")),
        ("an element of a table", sweep("\"model.0.count\" = [8]")),
        ("a key of a number", sweep("\"training.ridge.x\" = [8]")),
        ("a key of an array", sweep("\"model.features.count\" = [8]")),
        ("malformed key", sweep("\"training..ridge\" = [8]")),
        (
            "one inside another",
            sweep("training = [{ ridge = 1.0 }]\n\"training.ridge\" = [8]"),
        ),
        ("the name", sweep("name = [\"a\", \"b\"]")),
        ("cases that are no tables", sweep("case = [1, 2]")),
        ("a case without a label", sweep("case = [{ training = { samples = 64 } }]")),
        (
            "a label twice",
            sweep("case = [{ label = \"a\" }, { label = \"a\", seed = 1 }]"),
        ),
        ("a case with a name", sweep("case = [{ label = \"a\", name = \"b\" }]")),
        (
            "a value inside a case",
            format!("{BASE}\n[[sweep.case]]\nlabel = \"a\"\n\n[[sweep.case]]\nlabel = \"b\"\ntraining = {{ samples = 64 }}\ntraining.ridge = -1.0\n").replace("training = { samples = 64 }\n", ""),
        ),
        (
            "a case and another swept key",
            sweep("case = [{ label = \"a\", training = { ridge = 1.0 } }]\n\"training.ridge\" = [8]"),
        ),
        (
            "too many cases",
            sweep(&format!(
                "seed = {0:?}\n\"training.ridge\" = {0:?}",
                vec![1; 400]
            )),
        ),
    ]);
    insta::assert_snapshot!("sweeps", all);
}

#[test]
fn overrides() {
    let mut all = String::new();
    for overrides in [
        &["training.ridge=-0.1"][..],
        &["training.ridge"],
        &["=3"],
        &["training.=3"],
        &["model.features[0=3"],
        &["\"training.ridge=3"],
        &["training.ridge=nan"],
        &["training.ridge=abc"],
        &["training.rigde=0.1"],
        &["model.features.7.count=3"],
        &["model.features.0.count=0"],
        &["data.points=[[1.0], [2.0, 3.0]]"],
        &["name.first=a"],
        &["sweep=3"],
        &["sweep.\"training.samples\"=[]"],
        &["sweep.\"training.samples\"=[64, 0]"],
        &["sweep.training=[{ samples = 64 }]", "training.samples=32"],
        &["training=7"],
    ] {
        let error = refused(BASE, Format::Toml, overrides);
        check(&error);
        assert!(
            matches!(error.problems[0].place, Place::Override(_)),
            "{error}"
        );
        writeln!(all, "# {}\n{error}\n", overrides.join(" ")).unwrap();
    }
    let seed = parse(
        BASE,
        Format::Toml,
        "bad.toml",
        Path::new("."),
        &[],
        Some(u64::MAX),
    );
    writeln!(all, "# seed\n{}", seed.unwrap_err()).unwrap();
    insta::assert_snapshot!("overrides", all);
}

/// Writes the files into a directory and collects what is said about each of them.
fn file_messages(files: &[(&str, &[u8], &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for (name, bytes, keys) in files {
        if !bytes.is_empty() {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let text = data(&format!("kind = \"file\"\npath = \"{name}\"\n{keys}\n"));
        let error = parse(&text, Format::Toml, "bad.toml", dir.path(), &[], None).unwrap_err();
        check(&error);
        writeln!(all, "# {name} {keys}\n{error}\n").unwrap();
    }
    all
}

#[test]
fn csv_files() {
    let all = file_messages(&[
        ("missing.csv", b"", ""),
        ("ending.txt", b"a\n1\n", ""),
        ("empty.csv", b"\n", ""),
        ("header-only.csv", b"a\n", ""),
        ("no-header.csv", b"1.0,2.0\n3.0,4.0\n", ""),
        ("nan.csv", b"a,b\n1,2\n3,NaN\n", ""),
        ("infinite.csv", b"a\n1\ninf\n", ""),
        ("text.csv", b"a,b\n1,2\n3,setosa\n", ""),
        ("gap.csv", b"a,b\n1,2\n,4\n", ""),
        ("ragged.csv", b"a,b\n1,2\n\n3\n", ""),
        ("not-utf8.csv", b"a\n\xff\xfe\n", ""),
        ("column.csv", b"a,b\n1,2\n", "columns = [\"c\"]"),
        ("column.csv", b"a,b\n1,2\n", "columns = [2]"),
        ("column.csv", b"a,b\n1,2\n", "columns = [-1]"),
        ("column.csv", b"a,b\n1,2\n", "columns = [\"a\", 0]"),
        ("column.csv", b"a,b\n1,2\n", "columns = []"),
        ("twice.csv", b"a,a\n1,2\n", "columns = [\"a\"]"),
        ("constant.csv", b"a\n1\n1\n", "standardize = true"),
        ("pca.csv", b"a,b\n1,2\n3,4\n", "pca = 3"),
        ("pca.csv", b"a,b\n1,2\n3,4\n", "pca = 0"),
        ("pca.csv", b"a,b\n1e300,2\n3,4\n", "pca = 1"),
        ("rows.csv", b"a\n1\n", "max_rows = 0"),
        ("sum.csv", b"a\n1\n", "checksum = \"0123456789abcdef\""),
        ("scale.csv", b"a,b\n1,2\n3,5\n", "scale = 0"),
        ("scale.csv", b"a,b\n1,2\n3,5\n", "scale = true"),
        ("scale.csv", b"a,b\n1,2\n3,5\n", "scale = 1e308"),
        ("scale.csv", b"a\n1\n3\n", "rotation = 45.0"),
    ]);
    insta::assert_snapshot!("csv_files", all);
}

/// A .npy file with this dictionary and these values.
fn npy(dictionary: &str, values: &[f64]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(dictionary.len()).unwrap().to_le_bytes());
    bytes.extend(dictionary.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

#[test]
fn npy_files() {
    let dictionary = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    };
    let float = |shape: &str, values: &[f64]| npy(&dictionary("<f8", shape), values);
    let all = file_messages(&[
        ("no-header.npy", b"hello, this is not numpy", ""),
        ("header.npy", &npy("{'descr': '<f8'", &[]), ""),
        ("short.npy", &float("(3,)", &[1.0, 2.0]), ""),
        ("nan.npy", &float("(2, 1)", &[1.0, f64::NAN]), ""),
        ("axes.npy", &float("(1, 1, 1)", &[1.0]), ""),
        ("scalar.npy", &float("()", &[1.0]), ""),
        ("no-rows.npy", &float("(0,)", &[]), ""),
        ("no-columns.npy", &float("(2, 0)", &[]), ""),
        (
            "huge.npy",
            &float("(4294967295, 4294967295, 4294967295)", &[]),
            "",
        ),
        (
            "complex.npy",
            &npy(&dictionary("<c16", "(1,)"), &[1.0, 2.0]),
            "",
        ),
        ("name.npy", &float("(1,)", &[1.0]), "columns = [\"a\"]"),
        ("number.npy", &float("(1,)", &[1.0]), "columns = [1]"),
    ]);
    insta::assert_snapshot!("npy_files", all);
}

#[test]
fn sizes_beyond_memory() {
    let mut all = String::new();
    for (label, text) in [
        (
            "samples",
            base_with("samples = 1024", "samples = 1000000000000"),
        ),
        (
            "particles",
            base_with("models = 100", "models = 100\nparticles = 1000000000000"),
        ),
        (
            "features",
            base_with("samples = 1024", "samples = 100000000").replace("count = 16", "count = 141"),
        ),
        (
            "bins of the plane",
            plane("[[model.features]]\nof = \"x1\"\nkind = \"gaussian\"\ncount = 3")
                .replace("bins = 60", "bins = 10000"),
        ),
        (
            "features in ten dimensions",
            plane("[[model.features]]\nof = \"x\"\nkind = \"random-fourier\"\ncount = 20000")
                .replace("[-1.0, 0.0], [1.0, 0.5]", &format!("{:?}", [0.5; 10])),
        ),
        (
            "samples of layers in the plane",
            plane("[[model.features]]\nof = \"x1\"\nkind = \"gaussian\"\ncount = 3")
                .replace("samples = 1024", "samples = 1000000000000"),
        ),
    ] {
        let error = refused(&text, Format::Toml, &[]);
        check(&error);
        // The memory of the machine is not part of the claim.
        let message = error.to_string();
        let (before, after) = message.split_once("allowed: at most ").unwrap();
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        writeln!(all, "# {label}\n{before}allowed: at most N{after}\n").unwrap();
    }
    insta::assert_snapshot!("sizes_beyond_memory", all);
}

const MAP: &str = r#"[data]
kind = "points"
points = [[-1.0, 0.0], [1.0, 0.0]]
[diffusion]
kind = "vp"
[map]
times = [0.1, 0.5]
range = [-2.0, 2.0]
points = 100
"#;

#[test]
fn maps() {
    parse(MAP, Format::Toml, "map.toml", Path::new("."), &[], None).unwrap();
    let with = |from: &str, to: &str| {
        assert_eq!(MAP.matches(from).count(), 1, "{from:?}");
        MAP.replace(from, to)
    };
    let plus = |table: &str| format!("{MAP}{table}\n");
    let (before, map) = MAP.split_once("[map]").unwrap();
    insta::assert_snapshot!(
        "maps",
        messages(&[
            ("neither model nor map", before.to_owned()),
            ("training without a model", plus("[training]\nsamples = 10")),
            ("sampler without a model", plus("[sampler]\nsteps = 10")),
            ("predict without a model", plus("[predict]\ndraws = 10")),
            ("models without a model", plus("[monte_carlo]\nmodels = 10")),
            ("output without a model", plus("[output]\nbins = 10")),
            ("no times", with("[0.1, 0.5]", "[]")),
            ("a time before t_min", with("[0.1, 0.5]", "[0.1, 0.001]")),
            ("a time after t_max", with("[0.1, 0.5]", "[2.0]")),
            (
                "a time that is no number",
                with("[0.1, 0.5]", "[\"early\"]")
            ),
            ("times that are no list", with("[0.1, 0.5]", "0.1")),
            ("one pixel", with("points = 100", "points = 1")),
            (
                "too many pixels per axis",
                with("points = 100", "points = 2001")
            ),
            (
                "too many pixels",
                with("[0.1, 0.5]", "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]").replace("= 100", "= 2000"),
            ),
            ("a range backwards", with("[-2.0, 2.0]", "[2.0, -2.0]")),
            (
                "three ranges",
                with("[-2.0, 2.0]", "[[0, 1], [0, 1], [0, 1]]")
            ),
            ("too far away", with("[-2.0, 2.0]", "[0.0, 1e101]")),
            (
                "three dimensions",
                with("[[-1.0, 0.0], [1.0, 0.0]]", "[[0.0, 0.0, 0.0]]")
            ),
            ("an unknown key", with("points = 100", "resolution = 100")),
            ("a map that is no table", format!("map = {map:?}\n{before}")),
        ])
    );
}

#[test]
fn a_spec_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = load(&dir.path().join("missing.toml"), &[], None).unwrap_err();
    assert!(missing.to_string().contains("missing.toml"), "{missing}");
    assert!(missing.to_string().contains("No such file"), "{missing}");
    let directory = load(dir.path(), &[], None).unwrap_err();
    check(&directory);
    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"name = \"\xff\"").unwrap();
    let error = load(&binary, &[], None).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

fn low_rank(keys: &str) -> String {
    data(&format!("kind = \"low-rank-mixture\"\n{keys}\n"))
}

/// The naive spec with a model of low rank on a mixture of two planes in five dimensions.
fn subspaces(model_keys: &str, rest: &str) -> String {
    format!(
        "[data]\nkind = \"low-rank-mixture\"\ndimension = 5\nrank = 2\nsubspaces = 2\n[diffusion]\nkind = \"vp\"\n[model]\nkind = \"low-rank\"\n{model_keys}\n{rest}\n"
    )
}

#[test]
fn mixtures_of_low_rank() {
    let all = messages(&[
        ("no dimension", low_rank("rank = 1")),
        ("no rank", low_rank("dimension = 3")),
        (
            "rank above the dimension",
            low_rank("dimension = 3\nrank = 4"),
        ),
        ("both", low_rank("dimension = 3\nrank = 1\nranks = [1, 2]")),
        ("a rank of 0", low_rank("dimension = 3\nranks = [1, 0]")),
        ("no ranks", low_rank("dimension = 3\nranks = []")),
        (
            "weights of others",
            low_rank("dimension = 3\nrank = 1\nsubspaces = 2\nweights = [1.0]"),
        ),
        (
            "negative noise",
            low_rank("dimension = 3\nrank = 1\nnoise = -0.1"),
        ),
        (
            "too many columns",
            low_rank("dimension = 3\nrank = 2\nsubspaces = 2\nbases = \"orthogonal\""),
        ),
        (
            "no such bases",
            low_rank("dimension = 3\nrank = 2\nbases = \"any\""),
        ),
        (
            "not orthonormal",
            low_rank("bases = [[[1.0], [0.0]], [[0.6], [0.7]]]"),
        ),
        ("uneven rows", low_rank("bases = [[[1.0], [0.0, 1.0]]]")),
        (
            "bases of different dimensions",
            low_rank("bases = [[[1.0], [0.0]], [[1.0], [0.0], [0.0]]]"),
        ),
        ("more columns than rows", low_rank("bases = [[[1.0, 0.0]]]")),
        (
            "bases and a dimension",
            low_rank("dimension = 2\nbases = [[[1.0], [0.0]]]"),
        ),
        ("no bases", low_rank("bases = []")),
        (
            "seed beyond JSON",
            low_rank("dimension = 3\nrank = 1\nseed = 9007199254740993"),
        ),
        (
            "a key of points",
            low_rank("dimension = 3\nrank = 1\npoints = [[1.0]]"),
        ),
        ("a model's rank", subspaces("rank = 6", "")),
        ("a model's ranks", subspaces("ranks = [2, 6]", "")),
        ("rank and ranks", subspaces("rank = 2\nranks = [2, 2]", "")),
        ("an assignment", subspaces("assignment = \"hard\"", "")),
        (
            "features of low rank",
            subspaces("predicts = \"score\"", ""),
        ),
        (
            "points twice",
            subspaces("", "[training]\ndataset = 10\nper_subspace = 5"),
        ),
        (
            "draws without noise",
            subspaces("", "[training]\ndraws = 4"),
        ),
        (
            "odd draws",
            subspaces("", "[training]\nmethod = \"gradient\"\ndraws = 5"),
        ),
        ("a ridge", subspaces("", "[training]\nridge = 0.1")),
        ("no starts", subspaces("", "[training]\nrestarts = 0")),
        (
            "a method that is another's",
            subspaces("", "[predict]\nmethods = [\"saddle\"]"),
        ),
        (
            "methods without densities",
            subspaces(
                "",
                "[predict]\nmethods = [\"mean-field\"]\n[output]\ndensities = false",
            ),
        ),
        (
            "bins without densities",
            subspaces("", "[output]\ndensities = false\nbins = 10"),
        ),
        (
            "no rank to take from the data",
            NAIVE.replace("kind = \"naive\"\n", "kind = \"low-rank\"\n"),
        ),
        (
            "no subspaces to draw from",
            NAIVE.replace(
                "kind = \"naive\"\n",
                "kind = \"low-rank\"\nrank = 1\n[training]\nper_subspace = 3\n",
            ),
        ),
        (
            "no densities of another model",
            format!("{NAIVE}[output]\ndensities = false\n"),
        ),
        (
            "restarts of another model",
            base_with("ridge = 0.1", "ridge = 0.1\nrestarts = 3"),
        ),
    ]);
    insta::assert_snapshot!(all);
}
