//! What `derive` prints for every shipped spec: LaTeX that parses, formulas that evaluate to the code's numbers (read by
//! our own parser, and by SymPy where there is one).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use vkernel::derive::{DeriveError, Part, derive, derive_case};
use vkernel::experiment::{Experiment, Process};
use vkernel::family::kernel::Kernel;
use vkernel::family::{Denoiser, Family};
use vkernel::problem::Triple;
use vkernel::sampler::{Step, reverse_sde};
use vkernel::spec::{Format, Spec};
use vkernel::statistics::{VKernel, WeightStatistics, sandwich};
use vkernel::symbolic::{Tape, parse};

/// Agreement asked for, relative to the natural scale of each quantity.
const TOLERANCE: f64 = 1e-9;

/// Shipped specs that formulas are written for: with a model, in D = 1.
fn shipped() -> Vec<&'static (PathBuf, Spec)> {
    let on_the_line = |(_, spec): &&(PathBuf, Spec)| on_the_line(spec);
    let files: Vec<_> = ALL_SHIPPED.iter().filter(on_the_line).collect();
    assert!(files.len() >= 15, "{}", files.len());
    files
}

fn on_the_line(spec: &Spec) -> bool {
    spec.cases[0].has_model && first_case(spec).problem.dim() == 1
}

static ALL_SHIPPED: LazyLock<Vec<(PathBuf, Spec)>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut files: Vec<PathBuf> = [folder.clone(), folder.join("others")]
        .iter()
        .flat_map(|f| std::fs::read_dir(f).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    let loaded = files.into_iter().map(|path| {
        let spec = vkernel::spec::load(&path, &[], None).unwrap_or_else(|e| panic!("{e}"));
        (path, spec)
    });
    loaded.collect()
});

fn first_case(spec: &Spec) -> &Experiment {
    &spec.cases[0].experiment
}

/// Two space-time points and the value of everything there, from the code.
struct Probe {
    x: f64,
    t: f64,
    y: f64,
    s: f64,
    expected: Vec<(&'static str, f64, f64)>,
    /// V with its scale.
    v: (f64, f64),
}

/// Random probes in the range of the data; the second time is the smaller one.
fn probes(experiment: &Experiment, weights: Option<&WeightStatistics>, count: usize) -> Vec<Probe> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let problem = &experiment.problem;
    let kernel = match (&experiment.family, weights) {
        (Family::Linear(l), Some(w)) => Some(VKernel::new(problem, l, w, 0.0).unwrap()),
        _ => None,
    };
    let mean = |f: &dyn Fn(f64) -> f64| {
        let all = problem.data.components().iter().map(|c| f(c.mean[0]));
        all.clone().sum::<f64>() / all.count() as f64
    };
    let middle = mean(&|m| m);
    (0..count)
        .map(|_| {
            let mut time =
                || problem.t_min * (problem.t_max / problem.t_min).powf(rng.random::<f64>());
            let (u, w) = (time(), time());
            let (t, s) = (u.max(w), u.min(w));
            // The first point where there are noised data (the printed posterior underflows far from them), the second
            // anywhere between.
            let mut triple = Triple {
                t,
                x0: vec![0.0],
                x: vec![0.0],
            };
            problem.sample_at_time(&mut rng, &mut triple);
            let x = triple.x[0];
            let y = middle + 1.5 * (2.0 * rng.random::<f64>() - 1.0);
            let mut expected = expected(experiment, x, t, s);
            let v = match (&kernel, experiment.family.kernel()) {
                (Some(k), _) => {
                    let scale = (k.value((x, t), (x, t)) * k.value((y, s), (y, s))).sqrt();
                    (k.value((x, t), (y, s)), scale)
                }
                (None, Some(family)) => {
                    let k = between(&family.kernel, (x, t), (y, s));
                    expected.push(("K", k.0, k.1));
                    if let Some((first, _)) = &family.initial {
                        let (value, scale) = between(first, (x, t), (y, s));
                        expected.push(("K_0", value, scale));
                    }
                    let drift = |t| family.linear.predicts.drift(&problem.diffusion, t).1;
                    let b = drift(t) * drift(s);
                    (b * k.0, b * k.1)
                }
                (None, None) => white(experiment, x, t),
            };
            Probe {
                expected,
                x,
                t,
                y,
                s,
                v,
            }
        })
        .collect()
}

/// A kernel between two points, and the geometric mean of what it is at each.
fn between(kernel: &Kernel, (x, t): (f64, f64), (y, s): (f64, f64)) -> (f64, f64) {
    let points = kernel.points(&[x, y], &[t, s]);
    let mut gram = [0.0; 4];
    kernel.gram(&points, &mut gram);
    (gram[1], (gram[0] * gram[3]).sqrt())
}

/// The naive family's V: the strength of its white noise.
fn white(experiment: &Experiment, x: f64, t: f64) -> (f64, f64) {
    let Family::Naive(naive) = &experiment.family else {
        panic!("a naive family")
    };
    let d = experiment.problem.diffusion.diffusion_coefficient(t);
    let c = experiment
        .problem
        .posterior(&[x], t)
        .proxy_score_covariance()[(0, 0)];
    let v = naive.kappa * d * c * d;
    (v, v)
}

/// Name, value and scale of every closed form with arguments (x, t, s).
fn expected(experiment: &Experiment, x: f64, t: f64, s: f64) -> Vec<(&'static str, f64, f64)> {
    let problem = &experiment.problem;
    let d = &problem.diffusion;
    let posterior = problem.posterior(&[x], t);
    let (mean, score) = (posterior.mean[0], posterior.score[0]);
    let covariance = posterior.proxy_score_covariance()[(0, 0)];
    let mut all = vec![
        ("alpha", d.alpha(t), d.alpha(t)),
        ("sigma", d.sigma(t), d.sigma(t)),
        ("beta", d.beta(t), d.beta(t).abs() + 1e-300),
        ("D", d.diffusion_coefficient(t), d.diffusion_coefficient(t)),
        (
            "evidence",
            posterior.log_density.exp(),
            posterior.log_density.exp(),
        ),
        ("posterior_mean", mean, 1.0),
        ("score", score, score.abs() + 1.0 / d.sigma(t)),
        ("C", covariance, covariance + 1e-12 / d.sigma2(t)),
    ];
    if let (Some(l), Some(training)) = (experiment.family.linear(), &experiment.training) {
        let (a, b) = l.predicts.drift(d, t);
        let lambda = training.lambda(problem, l.predicts, t);
        let scale = a.abs() + d.denoiser_drift(t).0.abs();
        all.extend([("a", a, scale), ("b", b, b), ("lambda_t", lambda, lambda)]);
    }
    if experiment.sampler.process == Process::PfOde
        && let Step::OneStage { c, d: weight, .. } = Step::new(d, experiment.sampler.scheme, t, s)
    {
        all.extend([("c", c, 1.0), ("d", weight, 1.0)]);
    }
    all
}

fn covariance(experiment: &Experiment) -> Option<WeightStatistics> {
    let (Family::Linear(l), Some(training)) = (&experiment.family, &experiment.training) else {
        return None;
    };
    Some(sandwich(&experiment.problem, l, training).unwrap().weights)
}

#[track_caller]
fn agree(place: &str, name: &str, found: f64, (value, scale): (f64, f64)) {
    assert!(
        (found - value).abs() <= TOLERANCE * scale.abs(),
        "{place}, {name}: {found:e} against {value:e} of scale {scale:e}"
    );
}

/// The script as our own parser reads it: one value per definition, all values of every list.
struct Script {
    lists: HashMap<String, Vec<f64>>,
    values: HashMap<String, f64>,
}

impl Script {
    /// Evaluates `name = expression` and `name = [` expressions `]` line by line; everything else is Python.
    fn evaluate(script: &str, (x, t): (f64, f64), (y, s): (f64, f64)) -> Self {
        let points = [("x", x), ("t", t), ("y", y), ("s", s)];
        let mut read = Self {
            lists: HashMap::new(),
            values: points.map(|(name, value)| (name.into(), value)).into(),
        };
        let mut list: Option<(String, Vec<f64>)> = None;
        for line in script
            .lines()
            .skip_while(|l| !l.starts_with("# Forward process"))
        {
            if let Some((name, mut entries)) = list.take() {
                if line == "]" {
                    read.lists.insert(name, entries);
                } else {
                    entries.push(read.value(line.trim().trim_end_matches(',')).unwrap());
                    list = Some((name, entries));
                }
            } else if let Some((name, rest)) = line.split_once(" = ") {
                if rest == "[" {
                    list = Some((name.to_owned(), Vec::new()));
                } else if let Some(value) = read.value(rest) {
                    read.values.insert(name.to_owned(), value);
                }
            }
        }
        read
    }

    fn value(&self, text: &str) -> Option<f64> {
        let names: Vec<&str> = self.values.keys().map(String::as_str).collect();
        let inputs: Vec<f64> = self.values.values().copied().collect();
        let expr = parse(text, &names).ok()?;
        Some(Tape::new(&[expr], &names).unwrap().value(&inputs))
    }

    fn features(&self) -> Vec<f64> {
        let (space, time) = (&self.lists["phi_x"], &self.lists["phi_t"]);
        space
            .iter()
            .flat_map(|f| time.iter().map(move |g| f * g))
            .collect()
    }
}

/// Every closed form in every one of them, as printed for SymPy and read back by our own parser.
#[test]
fn printed_formulas_are_the_code_s_numbers() {
    for (place, experiment) in experiments() {
        let script = derive(&experiment).unwrap().sympy();
        let weights = covariance(&experiment);
        let written_out = experiment.problem.data.components().len() <= 12;
        for probe in probes(&experiment, weights.as_ref(), 8) {
            let at = Script::evaluate(&script, (probe.x, probe.t), (probe.y, probe.s));
            for &(name, value, scale) in &probe.expected {
                match at.values.get(name) {
                    Some(found) => agree(&place, name, *found, (value, scale)),
                    None => assert!(
                        !written_out
                            && ["evidence", "posterior_mean", "score", "C"].contains(&name),
                        "{place}: no {name}"
                    ),
                }
            }
            let end = || Script::evaluate(&script, (probe.y, probe.s), (probe.y, probe.s));
            match &weights {
                None if experiment.family.kernel().is_some() => {
                    let v = at.values["b"] * end().values["b"] * at.values["K"];
                    agree(&place, "V", v, probe.v);
                }
                // C is not written out either.
                None if !written_out => assert!(!at.values.contains_key("V"), "{place}"),
                None => agree(&place, "V", at.values["V"], probe.v),
                Some(w) => {
                    let end = end();
                    let (left, right) = (at.features(), end.features());
                    let form: f64 = (0..left.len())
                        .map(|i| {
                            (0..right.len())
                                .map(|j| left[i] * w.covariance[(i, j)] * right[j])
                                .sum::<f64>()
                        })
                        .sum();
                    agree(
                        &place,
                        "V",
                        at.values["b"] * end.values["b"] * form,
                        probe.v,
                    );
                }
            }
        }
    }
}

/// Components beyond which the variance is not evaluated by SymPy.
const MANY: usize = 20;

fn written(name: &str, text: &str) -> Experiment {
    let parsed = vkernel::spec::parse(text, Format::Toml, name, Path::new("."), &[], None);
    let mut spec = parsed.unwrap_or_else(|e| panic!("{e}"));
    spec.cases.remove(0).experiment
}

/// All shipped specs, one with more components than are written out, and kernels of every kind.
fn experiments() -> Vec<(String, Experiment)> {
    let points: Vec<String> = (0..13)
        .map(|i| format!("[{}]", 0.1 * f64::from(i * i)))
        .collect();
    let thirteen = format!(
        "[data]\nkind = \"points\"\npoints = [{}]\n[diffusion]\nkind = \"ou\"\n[model]\nkind = \"naive\"\nkappa = 0.1\n",
        points.join(", ")
    );
    let read = |name: &str, text: &str| (name.to_owned(), written(name, text));
    let shipped = shipped().into_iter().map(|(path, spec)| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, first_case(spec).clone())
    });
    let kernels = KERNELS
        .iter()
        .map(|(name, model)| read(name, &format!("{ON_THREE_POINTS}[model]\n{model}")));
    shipped
        .chain([read("thirteen", &thirteen)])
        .chain(kernels)
        .collect()
}

const ON_THREE_POINTS: &str = "
diffusion = { kind = \"vp\", t_min = 0.05 }
training = { samples = 64, time = 3.0 }
[data]
kind = \"points\"
points = [[-1.0], [0.2], [1.0]]
";

const KERNELS: [(&str, &str); 8] = [
    (
        "matern one half times rbf",
        "kind = \"kernel\"
         kernels = [{ of = \"x\", kind = \"matern\", order = 0.5, length = 1.5 }, { of = \"t\", kind = \"rbf\", length = 0.7 }]",
    ),
    (
        "a sum",
        "kind = \"kernel\"
         combine = \"sum\"
         kernels = [
             { of = \"xt\", kind = \"matern\", order = 1.5, length = 1.2, scale = 2.0 },
             { of = \"x1\", kind = \"matern\", order = 2.5, length = 1.3 },
             { of = \"xt\", kind = \"rational-quadratic\", length = 1.4, mixture = 0.7, scale = 0.3 },
         ]",
    ),
    (
        "inner products and ln t",
        "kind = \"kernel\"
         time = \"log\"
         kernels = [{ of = \"x\", kind = \"dot\", offset = 0.5, power = 3 }, { of = \"t\", kind = \"rbf\", length = 2.0 }]",
    ),
    (
        "expressions",
        "kind = \"kernel\"
         kernels = [
             { of = \"xt\", kind = \"expression\", expression = \"exp(-r^2/3)\" },
             { of = \"xt\", kind = \"expression\", expression = \"(1 + s)^2\" },
             { of = \"t\", kind = \"expression\", expression = \"exp(-(a - b)^2)\" },
         ]",
    ),
    (
        "erf and waves of t",
        "kind = \"ntk\"
         activation = \"erf\"
         depth = 2
         bias_std = 0.3
         time = \"fourier\"
         time_count = 2",
    ),
    (
        "gelu",
        "kind = \"ntk\"
         activation = \"gelu\"
         depth = 2
         bias_std = 0.5",
    ),
    (
        "two networks",
        "kind = \"kernel\"
         combine = \"sum\"
         kernels = [
             { of = \"xt\", kind = \"nngp\", activation = \"relu\", depth = 3, bias_std = 0.4 },
             { of = \"xt\", kind = \"ntk\", activation = \"relu\", depth = 1, bias_std = 0.2 },
         ]",
    ),
    (
        "a network of finite width",
        "kind = \"mlp\"
         depth = 1
         width = 32
         bias_std = 0.5
         initial = \"zero\"",
    ),
];

/// Of a deep network the recursion is given, not its layers.
#[test]
fn deep_networks_are_not_written_out() {
    let text = format!("{ON_THREE_POINTS}[model]\nkind = \"ntk\"\ndepth = 5\nbias_std = 0.5");
    let derivation = derive(&written("deep", &text)).unwrap();
    assert!(derivation.text().contains("Theta_(l+1) = q_(l+1)"));
    assert!(!derivation.sympy().contains("\nK = ") && !derivation.sympy().contains("K_0 = "));
}

/// Runs the scripts of all shipped specs in one Python process and compares what they evaluate to.
#[test]
fn sympy_evaluates_to_the_code_s_numbers() {
    let Some(python) = python() else {
        return;
    };
    let mut jobs = Vec::new();
    let mut wanted = Vec::new();
    for (place, experiment) in experiments() {
        let weights = covariance(&experiment);
        let mut probes = probes(&experiment, weights.as_ref(), 2);
        if experiment.problem.data.components().len() > MANY {
            // SymPy takes ten seconds for each such variance.
            for probe in &mut probes {
                probe.expected.retain(|e| e.0 != "C");
            }
        }
        let rows = weights.map(|w| {
            let rows = w
                .covariance
                .row_iter()
                .map(|r| r.iter().copied().collect::<Vec<f64>>());
            rows.collect::<Vec<_>>()
        });
        let names: Vec<&str> = probes[0].expected.iter().map(|e| e.0).collect();
        let points: Vec<[f64; 4]> = probes.iter().map(|p| [p.x, p.t, p.y, p.s]).collect();
        jobs.push(json!({ "script": derive(&experiment).unwrap().sympy(), "C_W": rows, "names": names, "points": points }));
        wanted.push((place, probes));
    }
    let answers = evaluate(&python, &Value::from(jobs));
    for ((place, probes), answer) in wanted.iter().zip(&answers) {
        for (probe, answer) in probes.iter().zip(answer.as_array().unwrap()) {
            agree(place, "V", answer["V"].as_f64().unwrap(), probe.v);
            for &(name, value, scale) in &probe.expected {
                agree(place, name, answer[name].as_f64().unwrap(), (value, scale));
            }
        }
    }
    assert_eq!(answers.len(), wanted.len());
}

/// A Python with SymPy: `VKERNEL_PYTHON`, or python3. Where `CI` is set there must be one.
fn python() -> Option<String> {
    let python = std::env::var("VKERNEL_PYTHON").unwrap_or("python3".into());
    let works = Command::new(&python)
        .args(["-c", "import sympy"])
        .output()
        .is_ok_and(|o| o.status.success());
    if works {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{python} has no sympy; set VKERNEL_PYTHON to a Python that has"
    );
    println!("skipped: {python} has no sympy");
    None
}

const DRIVER: &str = "
import json, sys
answers = []
for job in json.load(open(sys.argv[1])):
    n = {}
    exec(job['script'], n)
    rows = []
    for x, t, y, s in job['points']:
        values = {n['x']: x, n['t']: t, n['y']: y, n['s']: s}
        row = {name: n['at'](n[name], values) for name in job['names']}
        if callable(n['V']):
            v = n['V'](x, t, y, s, job['C_W'] or n['kernel'])
        else:
            v = n['at'](n['V'], values)
        rows.append({**row, 'V': v})
    answers.append(rows)
json.dump(answers, sys.stdout)
";

fn evaluate(python: &str, jobs: &Value) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.json");
    std::fs::write(&file, jobs.to_string()).unwrap();
    let output = Command::new(python)
        .args(["-c", DRIVER])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A denoiser that always gives the same value.
struct Constant(f64);

impl Denoiser for Constant {
    fn denoise(&self, _: f64, _: &[f64], denoised: &mut [f64]) {
        denoised.fill(self.0);
    }

    fn denoise_with_slope(&self, t: f64, x: &[f64], denoised: &mut [f64], slope: &mut [f64]) {
        self.denoise(t, x, denoised);
        slope.fill(0.0);
    }
}

/// The reverse SDE's step is affine: three runs with the same random number show its coefficients.
#[test]
fn the_printed_steps_of_the_reverse_sde_are_the_code_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/others/points-sde.toml");
    for (scheme, churn) in [("euler", 1.0), ("ddim", 1.0), ("euler", 0.3), ("ddim", 2.5)] {
        let overrides = [
            format!("sampler.scheme={scheme}"),
            format!("sampler.churn={churn:?}"),
        ];
        let spec = vkernel::spec::load(&path, &overrides, None).unwrap();
        let experiment = &spec.cases[0].experiment;
        let script = derive(experiment).unwrap().sympy();
        for (t, s) in [(0.9, 0.85), (0.4, 0.3), (0.05, 0.03)] {
            let run = |x: f64, denoised: f64| {
                let mut rng = ChaCha8Rng::seed_from_u64(3);
                let mut x = [x];
                reverse_sde(
                    &Constant(denoised),
                    &experiment.problem.diffusion,
                    experiment.sampler.scheme,
                    &[t, s],
                    churn,
                    &mut x,
                    &mut rng,
                )
                .unwrap();
                x[0]
            };
            let normal: f64 = ChaCha8Rng::seed_from_u64(3).sample(rand_distr::StandardNormal);
            let rest = run(0.0, 0.0);
            let at = Script::evaluate(&script, (0.0, t), (0.0, s));
            let place = format!("{scheme}, churn {churn}, {t}");
            agree(&place, "c", at.values["c"], (run(1.0, 0.0) - rest, 1.0));
            agree(&place, "d", at.values["d"], (run(0.0, 1.0) - rest, 1.0));
            agree(&place, "noise", at.values["noise"], (rest / normal, 1.0));
        }
    }
}

fn blocks(latex: &str) -> Vec<&str> {
    latex
        .split("\\[\n")
        .skip(1)
        .map(|b| b.split("\n\\]").next().unwrap())
        .collect()
}

/// A TeX-like parser reads every formula; the rest is plain text without TeX's own characters.
#[test]
fn the_latex_of_every_shipped_spec_parses() {
    for (path, spec) in shipped() {
        let latex = derive(first_case(spec)).unwrap().latex();
        let place = path.display();
        let blocks = blocks(&latex);
        assert!(blocks.len() > 15, "{place}: {}", blocks.len());
        for block in blocks {
            let storage = pulldown_latex::Storage::new();
            for event in pulldown_latex::Parser::new(block, &storage) {
                event.unwrap_or_else(|e| panic!("{place}: {e}\n{block}"));
            }
            assert_eq!(
                block.matches("\\left").count(),
                block.matches("\\right").count(),
                "{block}"
            );
        }
        assert_eq!(
            latex.matches("\\[\n").count(),
            latex.matches("\n\\]").count()
        );
        assert!(latex.starts_with("\\documentclass") && latex.ends_with("\\end{document}\n"));
        let mut rest = latex
            .split("\\[\n")
            .map(|p| p.split("\n\\]\n").last().unwrap());
        let _preamble = rest.next();
        for text in rest {
            let bare = text
                .replace("\\_", "")
                .replace("\\#", "")
                .replace("\\textasciicircum{}", "");
            assert!(
                !bare.contains(['_', '^', '#', '&', '%', '$']),
                "{place}: {text}"
            );
        }
    }
}

#[test]
fn every_shipped_spec_has_its_sections() {
    for (path, spec) in shipped() {
        let experiment = first_case(spec);
        let derivation = derive(experiment).unwrap();
        let titles: Vec<&str> = derivation
            .sections
            .iter()
            .map(|s| s.title.as_str())
            .collect();
        for title in [
            "Forward process",
            "Target of denoising score matching",
            "V-kernel",
            "Action",
            "Effective SDE",
            "Approximations",
        ] {
            assert!(titles.contains(&title), "{}: {titles:?}", path.display());
        }
        let last = derivation.sections.last().unwrap();
        for method in &experiment.predict.methods {
            let named = |part: &Part| matches!(part, Part::Text(t) if t.contains(&format!("{:?}", method.name())));
            assert!(
                last.parts.iter().any(named),
                "{}: {}",
                path.display(),
                method.name()
            );
        }
        assert!(derivation.text().lines().count() > 60);
    }
}

/// The other shipped specs are refused, with the reason.
#[test]
fn no_formulas_without_a_model_or_beyond_the_line() {
    let mut refused = 0;
    for (_, spec) in ALL_SHIPPED.iter().filter(|(_, spec)| !on_the_line(spec)) {
        let case = &spec.cases[0];
        let expected = match (case.has_model, case.experiment.problem.dim()) {
            (false, _) => DeriveError::NoModel,
            (true, dim) => DeriveError::Dimension { dim },
        };
        assert_eq!(derive_case(spec, 0).unwrap_err(), expected);
        refused += 1;
    }
    assert!(refused >= 2, "{refused}");
}

#[test]
fn a_sweep_says_which_case_it_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/any-fp.toml");
    let spec = vkernel::spec::load(&path, &[], None).unwrap();
    let second = derive_case(&spec, 1).unwrap();
    for printed in [second.text(), second.sympy(), second.latex()] {
        assert!(printed.contains("Case 2 of 45"), "{printed}");
    }
    assert!(second.text().contains("P = 128"));
    assert!(derive_case(&spec, 45).is_err());
}
