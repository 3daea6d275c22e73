//! The command: parsing and printing, no mathematics.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use vkernel::report::result::{Provenance, RunResult, SCHEMA};
use vkernel::report::{
    comparison_table, comparison_table_of, decomposition_table, decomposition_table_of,
    distances_across, maps_summary, read_result, readout_table, recovery_table, result_json,
    result_schema, write_atomic, write_densities, write_figures, write_maps,
};
use vkernel::run::{Checkpoints, Parts, Progress, run};
use vkernel::spec::{self, Spec};

/// Predicts what a diffusion model will typically learn, and checks it against trained models.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Predict, train the Monte Carlo ensemble, compare; write result.json, figures and arrays
    Run(Job),
    /// Only the theory
    Predict(Job),
    /// Only the Monte Carlo ensemble
    Train(Job),
    /// Table of predicted against trained densities of stored results
    Compare {
        /// Result files, or folders that hold a result.json
        #[arg(required = true)]
        results: Vec<PathBuf>,
    },
    /// Redraw the figures of a stored result
    Plot {
        /// A result file, or a folder that holds a result.json
        result: PathBuf,
        /// Folder for the figures [default: beside the result]
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Validate a spec, fill in its defaults and print the work ahead; runs nothing
    Check(Job),
    /// Print the formulas behind a spec: process, target, V-kernel, action, effective SDE, approximations
    Derive {
        /// The spec (TOML, or JSON if its name ends in .json)
        spec: PathBuf,
        #[arg(long, value_enum, default_value = "text")]
        format: Notation,
        /// Which case of a sweep, counted from 1
        #[arg(long, default_value = "1")]
        case: std::num::NonZeroUsize,
        /// Override a value of the spec, such as training.samples=256
        #[arg(long = "set", value_name = "KEY=VALUE")]
        overrides: Vec<String>,
    },
    /// BibTeX of the works behind exactly the methods that a spec uses
    Cite {
        /// The spec (TOML, or JSON if its name ends in .json)
        spec: PathBuf,
        /// Override a value of the spec, such as training.samples=256
        #[arg(long = "set", value_name = "KEY=VALUE")]
        overrides: Vec<String>,
    },
    /// JSON Schema of the input or of the output
    Schema {
        #[arg(value_enum, default_value = "spec")]
        of: SchemaOf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaOf {
    Spec,
    Result,
}

#[derive(Clone, Copy, ValueEnum)]
enum Notation {
    Latex,
    Sympy,
    Text,
}

#[derive(Args)]
struct Job {
    /// The spec (TOML, or JSON if its name ends in .json)
    spec: PathBuf,
    /// Folder for the results [default: out/<name>]
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Override a value of the spec, such as training.samples=256
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Override the spec's seed
    #[arg(long)]
    seed: Option<u64>,
    /// Threads [default: all cores]; the results do not depend on it
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
    /// No progress, no table
    #[arg(long, short)]
    quiet: bool,
}

/// What ends the command early.
enum Failure {
    /// The input is wrong: exit code 2.
    Input(String),
    /// Anything else: exit code 1.
    Other(String),
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(message)) => {
            tell(&format!("error: {message}\n"));
            ExitCode::from(2)
        }
        Err(Failure::Other(message)) => {
            tell(&format!("error: {message}\n"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    let all = Parts {
        predict: true,
        train: true,
    };
    match command {
        Command::Run(job) => execute_job(&job, all),
        Command::Predict(job) => execute_job(
            &job,
            Parts {
                train: false,
                ..all
            },
        ),
        Command::Train(job) => execute_job(
            &job,
            Parts {
                predict: false,
                ..all
            },
        ),
        Command::Check(job) => check(&job),
        Command::Compare { results } => compare(&results),
        Command::Plot { result, output } => plot(&result, output.as_deref()),
        Command::Derive {
            spec,
            format,
            case,
            overrides,
        } => derive(&spec, format, case.get(), &overrides),
        Command::Cite { spec, overrides } => {
            let spec =
                spec::load(&spec, &overrides, None).map_err(|e| Failure::Input(e.to_string()))?;
            print(&vkernel::cite::bibliography(&spec))
        }
        Command::Schema { of } => {
            let schema = match of {
                SchemaOf::Spec => spec::spec_schema(),
                SchemaOf::Result => result_schema(),
            };
            print(&format!("{schema:#}\n"))
        }
    }
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints a second table, if there is one.
fn print_below(table: &str) -> Result<(), Failure> {
    if table.is_empty() {
        return Ok(());
    }
    print(&format!("\n{table}"))
}

/// Prints to standard error; where nobody reads it, there is nobody to tell.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn load(job: &Job) -> Result<(Spec, usize), Failure> {
    let input = |e: vkernel::spec::SpecError| Failure::Input(e.to_string());
    let spec = spec::load(&job.spec, &job.overrides, job.seed).map_err(input)?;
    let threads = match job.threads {
        Some(n) => n.get(),
        None => std::thread::available_parallelism().map_or(1, |n| n.get()),
    };
    spec.check_memory(threads).map_err(input)?;
    Ok((spec, threads))
}

fn folder(job: &Job, spec: &Spec) -> PathBuf {
    job.output
        .clone()
        .unwrap_or_else(|| Path::new("out").join(&spec.name))
}

fn execute_job(job: &Job, parts: Parts) -> Result<(), Failure> {
    let (spec, threads) = load(job)?;
    if !parts.predict && spec.cases.iter().any(|case| !case.has_model) {
        return Err(Failure::Input(format!(
            "{}: a spec without [model] has nothing to train; run or predict make its maps",
            job.spec.display()
        )));
    }
    let folder = folder(job, &spec);
    let (clock, started) = (Instant::now(), SystemTime::now());
    // An output folder that cannot be had is known before the work, not after it.
    std::fs::create_dir_all(&folder)
        .map_err(|e| Failure::Other(format!("{}: {e}", folder.display())))?;
    let checkpoints = Checkpoints::in_folder(&folder.join("checkpoint"));
    let mut reporter = Reporter::new(job.quiet);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Failure::Other(e.to_string()))?;
    let cases = pool
        .install(|| run(&spec, parts, &checkpoints, &mut |p| reporter.update(p)))
        .map_err(|e| Failure::Other(e.to_string()))?;
    reporter.finish();

    let result = RunResult {
        schema: SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        spec: spec.resolved.clone(),
        provenance: Provenance {
            seed: spec.seed,
            threads,
            started: humantime::format_rfc3339_seconds(started).to_string(),
            seconds: clock.elapsed().as_secs_f64(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            git: commit(),
        },
        cases,
    };
    let mut written = vec![folder.join("result.json")];
    let failed = |e: &dyn std::fmt::Display| Failure::Other(format!("{}: {e}", folder.display()));
    let text = result_json(&result).map_err(|e| failed(&e))?;
    write_atomic(&written[0], &text).map_err(|e| failed(&e))?;
    written.extend(write_densities(&result, &folder).map_err(|e| failed(&e))?);
    written.extend(write_maps(&result, &folder).map_err(|e| failed(&e))?);
    if !job.quiet {
        // Before the figures: what was computed is told whatever becomes of them.
        print(&comparison_table(&result))?;
        print_below(&decomposition_table(&result))?;
        print_below(&readout_table(&result))?;
        print_below(&recovery_table(&result))?;
        print(&maps_summary(&result))?;
        for warning in warnings(&result) {
            print(&format!("warning: {warning}\n"))?;
        }
    }
    written.extend(write_figures(&result, &folder).map_err(|e| failed(&e))?);
    remove_leftovers(&folder, &written, started);
    // Last: a kill before this line costs no finished case.
    checkpoints.clear();
    if !job.quiet {
        print(&format!(
            "\n{:.1} s; wrote\n",
            clock.elapsed().as_secs_f64()
        ))?;
        for path in written {
            print(&format!("  {}\n", path.display()))?;
        }
    }
    Ok(())
}

/// Removes what a killed run left half written: temporary files of the files just written that are older than this run.
fn remove_leftovers(folder: &Path, written: &[PathBuf], started: SystemTime) {
    let prefixes: Vec<String> = written
        .iter()
        .filter_map(|path| Some(format!(".{}.", path.file_name()?.to_str()?)))
        .collect();
    // A leftover that stays costs space only.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let temporary = name.to_str().is_some_and(|name| {
            name.ends_with(".tmp") && prefixes.iter().any(|p| name.starts_with(p))
        });
        let old = || entry.metadata().and_then(|m| m.modified());
        if temporary && old().is_ok_and(|modified| modified < started) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What the theory warns of, each once.
fn warnings(result: &RunResult) -> Vec<&str> {
    let mut all: Vec<&str> = result
        .cases
        .iter()
        .filter_map(|case| case.diagnostics.get("warnings")?.as_array())
        .flatten()
        .filter_map(|warning| warning.as_str())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Commit of the current directory's repository.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let hash = text.trim();
    (output.status.success() && !hash.is_empty()).then(|| hash.to_owned())
}

fn check(job: &Job) -> Result<(), Failure> {
    let (spec, threads) = load(job)?;
    print(&format!("{:#}\n\n", spec.resolved))?;
    print(&vkernel::run::work_ahead(&spec, threads))
}

fn derive(path: &Path, format: Notation, case: usize, overrides: &[String]) -> Result<(), Failure> {
    let spec = spec::load(path, overrides, None).map_err(|e| Failure::Input(e.to_string()))?;
    let derivation = vkernel::derive::derive_case(&spec, case - 1)
        .map_err(|e| Failure::Input(format!("{}: {e}", path.display())))?;
    print(&match format {
        Notation::Latex => derivation.latex(),
        Notation::Sympy => derivation.sympy(),
        Notation::Text => derivation.text(),
    })
}

/// A result file, or the one in a folder.
fn result_path(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("result.json")
    } else {
        path.to_path_buf()
    }
}

fn read(path: &Path) -> Result<RunResult, Failure> {
    read_result(&result_path(path)).map_err(|e| Failure::Input(e.to_string()))
}

fn compare(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut results = Vec::with_capacity(paths.len());
    for path in paths {
        results.push((path.display().to_string(), read(path)?));
    }
    print(&comparison_table_of(&results))?;
    print_below(&decomposition_table_of(&results))?;
    for (_, result) in &results {
        print(&maps_summary(result))?;
    }
    print(&distances_across(&results))
}

fn plot(path: &Path, output: Option<&Path>) -> Result<(), Failure> {
    let result = read(path)?;
    let file = result_path(path);
    let folder = output
        .or_else(|| file.parent())
        .unwrap_or_else(|| Path::new("."));
    let failed = |e: &dyn std::fmt::Display| Failure::Other(format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    for path in write_figures(&result, folder).map_err(|e| failed(&e))? {
        print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// Shows progress: a bar on a terminal, a line now and then elsewhere, nothing when quiet.
struct Reporter {
    bar: Option<ProgressBar>,
    lines: bool,
    last: Instant,
    part: String,
}

/// Time between two plain lines of the same part.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

impl Reporter {
    fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) =
                ProgressStyle::with_template("{msg:32} {wide_bar} {pos}/{len} {eta:>4}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            lines: !terminal && !quiet,
            last: Instant::now(),
            part: String::new(),
        }
    }

    fn update(&mut self, p: Progress<'_>) {
        let part = format!("case {}/{} {}", p.case + 1, p.cases, p.part);
        let fresh = part != self.part;
        if let Some(bar) = &self.bar {
            if fresh {
                bar.reset_eta();
                bar.set_message(part.clone());
            }
            bar.set_length(p.total);
            bar.set_position(p.done);
        } else if self.lines && (fresh || self.last.elapsed() >= LINE_INTERVAL) {
            tell(&format!("{part} {}/{}\n", p.done, p.total));
            self.last = Instant::now();
        }
        self.part = part;
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
