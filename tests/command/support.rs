//! A folder to work in, the command run in it, and what it left there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A linear model of 6 x 6 Gaussian features: everything of a run in well under a second.
pub const SMALL: &str = r#"seed = 7

[data]
kind = "points"
points = [[-1.0], [1.0]]

[diffusion]
kind = "vp"

[model]
kind = "linear"

[[model.features]]
of = "x1"
kind = "gaussian"
count = 6
range = [-1.5, 1.5]

[[model.features]]
of = "t"
kind = "gaussian"
count = 6

[training]
samples = 40

[sampler]
steps = 20

[predict]
draws = 100

[monte_carlo]
models = 130
particles = 64

[output]
range = [-2.0, 2.0]
bins = 30
"#;

/// The naive family with proxy noise.
pub const NAIVE: &str = r#"seed = 7

[data]
kind = "points"
points = [[-1.0], [1.0]]

[diffusion]
kind = "vp"
t_min = 0.05

[model]
kind = "naive"
kappa = 0.2

[sampler]
steps = 20

[monte_carlo]
models = 70
particles = 40

[output]
range = [-2.0, 2.0]
bins = 30
"#;

/// A fresh folder, the current directory of every command run in it.
pub struct Place {
    folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    /// A folder with one spec, `spec.toml`.
    pub fn with(spec: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        place.write("spec.toml", spec);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The command, ready to start, with its outputs piped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vkernel"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub fn vkernel(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }

    /// Runs the command, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> Done {
        let done = self.vkernel(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:#?}");
        done
    }

    /// Runs the command, which must find its input wrong, and returns its message.
    pub fn refuse(&self, arguments: &[&str]) -> String {
        let done = self.vkernel(arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}: {done:#?}");
        assert_eq!(done.out, "", "{arguments:?}");
        done.err
    }

    /// Runs the spec quietly into `folder` with more arguments and returns the result.
    pub fn result_of(&self, folder: &str, arguments: &[&str]) -> Value {
        let mut all = vec!["run", "spec.toml", "--quiet", "-o", folder];
        all.extend(arguments);
        self.succeed(&all);
        self.json(&format!("{folder}/result.json"))
    }

    pub fn json(&self, name: &str) -> Value {
        read_json(&self.path(name))
    }

    /// Names in a folder, sorted; empty when there is no such folder.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Done {
    fn of(output: Output) -> Self {
        let done = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!done.err.contains("panicked at"), "{done:#?}");
        done
    }
}

pub fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A result without what may differ between two runs of one spec and seed.
pub fn bare(mut result: Value) -> Value {
    let table = result.as_object_mut().unwrap();
    table.remove("provenance").unwrap();
    for case in table["cases"].as_array_mut().unwrap() {
        case.as_object_mut().unwrap().remove("seconds").unwrap();
    }
    result
}

/// Checks that a density's mass is all there; the number of its bins.
#[track_caller]
pub fn bins_of_whole(density: &Value) -> usize {
    let mass = numbers(&density["mass"]);
    let total = mass.iter().sum::<f64>() + density["outside"].as_f64().unwrap();
    assert!((total - 1.0).abs() < 1e-9, "{total}");
    mass.len()
}

/// The density `name` of a case.
pub fn density<'r>(result: &'r Value, case: usize, name: &str) -> &'r Value {
    let density = &result["cases"][case]["densities"][name];
    assert!(density.is_object(), "no density {name} in case {case}");
    density
}

/// A list of numbers.
pub fn numbers(list: &Value) -> Vec<f64> {
    let list = list.as_array().unwrap();
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}
