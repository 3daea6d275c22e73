//! How costs grow: seconds of one thread over one number at a time, the exponent of a straight line through their logarithms, and
//! the exponent that the operation count gives. Prints a table. Run with `cargo bench --bench scaling`.

use std::path::Path;

use vkernel::report::result::Seconds;
use vkernel::run::{Checkpoints, Parts, run};
use vkernel::spec::{Format, parse};

/// What is timed, and in which part of a run it is.
struct Law {
    cost: &'static str,
    number: &'static str,
    values: &'static [usize],
    expected: &'static str,
    spec: fn(usize) -> String,
    parts: Parts,
    seconds: fn(&Seconds) -> f64,
}

const TRAIN: Parts = Parts {
    predict: false,
    train: true,
};
const PREDICT: Parts = Parts {
    predict: true,
    train: false,
};

/// Shortest of so many runs.
const REPEATS: usize = 2;

/// A panel of Fig. 2 with other numbers.
struct Panel {
    side: usize,
    samples: usize,
    models: usize,
    draws: usize,
    steps: usize,
    bins: usize,
}

const PANEL: Panel = Panel {
    side: 16,
    samples: 1024,
    models: 100,
    draws: 500,
    steps: 40,
    bins: 60,
};

impl Panel {
    fn spec(&self) -> String {
        format!(
            r#"
            data = {{ kind = "points", points = [[-1.0], [0.0], [1.0]] }}
            diffusion = {{ kind = "vp", t_min = 1e-2 }}
            sampler = {{ scheme = "ddim", grid = "log", steps = {} }}
            training = {{ samples = {}, ridge = 0.1 }}
            predict = {{ methods = ["gaussian-field"], statistics = "equivalent", draws = {} }}
            monte_carlo = {{ models = {} }}
            output = {{ range = [-1.5, 1.5], bins = {} }}
            [model]
            kind = "linear"
            features = [{{ of = ["x1", "t"], kind = "gaussian", count = {} }}]
            "#,
            self.steps, self.samples, self.draws, self.models, self.bins, self.side
        )
    }
}

/// Random waves of D coordinates, 64 of them times 4 features of time, with D outputs.
fn waves(dim: usize) -> String {
    let point = |sign: f64| format!("{:?}", vec![sign; dim]);
    format!(
        r#"
        data = {{ kind = "points", points = [{}, {}] }}
        diffusion = {{ kind = "vp", t_min = 1e-2 }}
        training = {{ samples = 4096, ridge = 0.1 }}
        monte_carlo = {{ models = 10, particles = 512 }}
        output = {{ range = [-2.0, 2.0], bins = 20 }}
        [model]
        kind = "linear"
        features = [{{ of = "x", kind = "random-fourier", count = 64 }}, {{ of = "t", kind = "gaussian", count = 4 }}]
        "#,
        point(-1.0),
        point(1.0)
    )
}

const LAWS: &[Law] = &[
    Law {
        cost: "training, 10 P F + F^3/3",
        number: "features F, P = 4096",
        values: &[8, 16, 32],
        expected: "1 to 3",
        spec: |side| {
            Panel {
                side,
                samples: 4096,
                models: 20,
                ..PANEL
            }
            .spec()
        },
        parts: TRAIN,
        seconds: |s| s.train,
    },
    Law {
        cost: "training, 10 P F + F^3/3",
        number: "samples P, F = 256",
        values: &[1024, 4096, 16384],
        expected: "0 to 1",
        spec: |samples| Panel { samples, ..PANEL }.spec(),
        parts: TRAIN,
        seconds: |s| s.train,
    },
    Law {
        cost: "training in the dual, 2 P^2 F^1/2 + P^3/3",
        number: "samples P, F = 1024",
        values: &[128, 256, 512],
        expected: "2 to 3",
        spec: |samples| {
            Panel {
                side: 32,
                samples,
                ..PANEL
            }
            .spec()
        },
        parts: TRAIN,
        seconds: |s| s.train,
    },
    Law {
        cost: "training, outputs share a factorisation",
        number: "dimension D, F = 256",
        values: &[2, 4, 8, 16],
        expected: "0",
        spec: waves,
        parts: TRAIN,
        seconds: |s| s.train,
    },
    Law {
        cost: "sampling a model in D dimensions",
        number: "dimension D, F = 256",
        values: &[2, 4, 8, 16],
        expected: "0 to 1",
        spec: waves,
        parts: TRAIN,
        seconds: |s| s.sample,
    },
    Law {
        cost: "training and sampling",
        number: "models",
        values: &[100, 400, 1600],
        expected: "1",
        spec: |models| Panel { models, ..PANEL }.spec(),
        parts: TRAIN,
        seconds: |s| s.train + s.sample,
    },
    Law {
        cost: "sampling",
        number: "steps",
        values: &[20, 80, 320],
        expected: "1",
        spec: |steps| Panel { steps, ..PANEL }.spec(),
        parts: TRAIN,
        seconds: |s| s.sample,
    },
    Law {
        cost: "sampling, the exact push-forward",
        number: "bins",
        values: &[30, 120, 480],
        expected: "0",
        spec: |bins| Panel { bins, ..PANEL }.spec(),
        parts: TRAIN,
        seconds: |s| s.sample,
    },
    Law {
        cost: "statistics",
        number: "features F, P = 1024",
        values: &[8, 16, 32],
        expected: "2 to 3",
        spec: |side| {
            Panel {
                side,
                draws: 2,
                ..PANEL
            }
            .spec()
        },
        parts: PREDICT,
        seconds: |s| s.predict["statistics"],
    },
    Law {
        cost: "statistics",
        number: "samples P, F = 256",
        values: &[512, 2048, 8192, 32768],
        expected: "0",
        spec: |samples| {
            Panel {
                samples,
                draws: 2,
                ..PANEL
            }
            .spec()
        },
        parts: PREDICT,
        seconds: |s| s.predict["statistics"],
    },
    Law {
        cost: "gaussian-field",
        number: "draws",
        values: &[500, 2000, 8000],
        expected: "1",
        spec: |draws| Panel { draws, ..PANEL }.spec(),
        parts: PREDICT,
        seconds: |s| s.predict["gaussian-field"],
    },
    Law {
        cost: "gaussian-field",
        number: "samples P, F = 256",
        values: &[512, 2048, 8192],
        expected: "0",
        spec: |samples| Panel { samples, ..PANEL }.spec(),
        parts: PREDICT,
        seconds: |s| s.predict["gaussian-field"],
    },
    Law {
        cost: "prediction in all",
        number: "models",
        values: &[100, 1600, 25600],
        expected: "0",
        spec: |models| Panel { models, ..PANEL }.spec(),
        parts: PREDICT,
        seconds: |s| s.predict.values().sum(),
    },
];

impl Law {
    /// Seconds at one value.
    fn time(&self, value: usize) -> f64 {
        let text = (self.spec)(value);
        let spec = parse(
            &text,
            Format::Toml,
            "scaling.toml",
            Path::new("."),
            &[],
            None,
        )
        .expect("the specs of this file are right");
        let once = || {
            let cases = run(&spec, self.parts, &Checkpoints::none(), &mut |_| ())
                .expect("the cases of this file can be solved");
            (self.seconds)(&cases[0].seconds)
        };
        (0..REPEATS).map(|_| once()).fold(f64::INFINITY, f64::min)
    }

    /// Of features, their number: two sets of `value` each.
    fn number(&self, value: usize) -> usize {
        match self.number.starts_with("features") {
            true => value * value,
            false => value,
        }
    }
}

/// Slope of the straight line through (ln x, ln y) by least squares.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let variance: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    covariance / variance
}

fn main() {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("one thread can be had");
    println!("| cost | grows with | values | seconds | exponent | expected |");
    println!("|---|---|---|---|---|---|");
    for law in LAWS {
        let points: Vec<(f64, f64)> = law
            .values
            .iter()
            .map(|v| (law.number(*v) as f64, pool.install(|| law.time(*v))))
            .collect();
        let join = |of: &dyn Fn(&(f64, f64)) -> String| {
            let all: Vec<String> = points.iter().map(of).collect();
            all.join(", ")
        };
        println!(
            "| {} | {} | {} | {} | {:.2} | {} |",
            law.cost,
            law.number,
            join(&|p| format!("{}", p.0)),
            join(&|p| format!("{:.3}", p.1)),
            exponent(&points),
            law.expected
        );
    }
}
