//! A run killed at any moment continues where it stopped, with the same bits.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::{Place, SMALL, bare, read_json};

/// Two cases, fresh samples and data sets, each with both ensembles of some seconds: long against the delays of the kills, also on a busy machine.
fn long_spec() -> String {
    let spec = SMALL
        .replace("draws = 100", "draws = 5000")
        .replace("models = 130", "models = 5000")
        .replace("particles = 64", "particles = 256")
        .replace("steps = 20", "steps = 40");
    spec + "\n[sweep]\n\"training.draws\" = [1, 4]\n"
}

/// Starts the command and kills it `later` after `reached` first holds. True when it was still running.
fn kill(place: &Place, arguments: &[&str], reached: impl Fn() -> bool, later: Duration) -> bool {
    let mut child = place
        .command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !reached() && child.try_wait().unwrap().is_none() {
        assert!(
            started.elapsed() < Duration::from_secs(300),
            "never reached"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(later);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Every file that has its name is whole.
fn whole(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            whole(&path);
        } else if !name.ends_with(".tmp") {
            assert!(name.ends_with(".json"), "{name} before the result");
            read_json(&path);
        }
    }
}

#[test]
fn a_killed_run_continues_with_the_same_bits() {
    let place = Place::with(&long_spec());
    let undisturbed = bare(place.result_of("undisturbed", &["--threads", "2"]));
    let arguments = ["run", "spec.toml", "-o", "out", "--threads", "2"];
    // Hashes of the cases that have a checkpoint of this part.
    let with = |part: &str| -> Vec<String> {
        let end = format!("-{part}.json");
        let names = place.names("out/checkpoint");
        let hashes = names.iter().filter_map(|n| n.strip_suffix(&end));
        hashes
            .filter(|hash| !hash.starts_with('.'))
            .map(str::to_owned)
            .collect()
    };
    let second_begun = || {
        let finished = with("case");
        let begun = with("gaussian-field");
        !finished.is_empty() && begun.iter().any(|hash| !finished.contains(hash))
    };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut soon = || Duration::from_millis(rng.random_range(0..300));
    // Before anything is stored; in the first case's draws; in its models; in the second case.
    let moments: [(&dyn Fn() -> bool, Duration); 4] = [
        (&|| true, soon()),
        (&|| !with("gaussian-field").is_empty(), soon()),
        (&|| !with("monte-carlo").is_empty(), soon()),
        (&second_begun, soon()),
    ];
    for (i, (reached, later)) in moments.into_iter().enumerate() {
        assert!(kill(&place, &arguments, reached, later), "moment {i}");
        whole(&place.path("out"));
        assert!(!place.path("out/result.json").exists(), "moment {i}");
    }
    let last = place.succeed(&arguments);
    assert!(!last.err.contains("case 1/2"), "{}", last.err);
    let resumed = last
        .err
        .lines()
        .find_map(|l| l.strip_prefix("case 2/2 gaussian-field "))
        .unwrap();
    assert!(!resumed.starts_with("0/"), "{}", last.err);
    assert_eq!(bare(place.json("out/result.json")), undisturbed);
    assert_eq!(place.names("out"), place.names("undisturbed"));
    assert!(place.names("out").iter().all(|n| !n.starts_with('.')));
    for file in place.names("out").iter().filter(|n| *n != "result.json") {
        let [a, b] =
            ["out", "undisturbed"].map(|f| fs::read(place.path(&format!("{f}/{file}"))).unwrap());
        assert!(a == b, "{file}");
    }
}

#[test]
fn a_changed_spec_starts_afresh() {
    let place = Place::with(&long_spec());
    let job = ["predict", "spec.toml", "--set", "training.draws=1"];
    let changed = ["--set", "training.ridge=1"];
    let with = |more: &[&'static str]| [&job[..], more].concat();
    let stored = || {
        let names = place.names("out/checkpoint");
        names.iter().any(|n| n.ends_with("gaussian-field.json"))
    };
    let first = with(&["-o", "out"]);
    assert!(kill(&place, &first, stored, Duration::ZERO));
    let done = place.succeed(&[&first[..], &changed].concat());
    assert!(
        done.err.contains("case 1/1 gaussian-field 0/"),
        "{}",
        done.err
    );
    place.succeed(&[&with(&["-o", "fresh"])[..], &changed].concat());
    assert_eq!(
        bare(place.json("out/result.json")),
        bare(place.json("fresh/result.json"))
    );
}

#[test]
fn a_kill_among_the_last_files_costs_no_work() {
    let place = Place::with(SMALL);
    let arguments = ["run", "spec.toml", "-o", "out"];
    let written = || place.path("out/result.json").exists();
    let killed = kill(&place, &arguments, written, Duration::ZERO);
    read_json(&place.path("out/result.json"));
    // On a very fast machine it may have ended before.
    if killed && !place.names("out/checkpoint").is_empty() {
        let done = place.succeed(&arguments);
        assert_eq!(done.err, "");
    }
    assert_eq!(
        bare(place.json("out/result.json")),
        bare(place.result_of("undisturbed", &[]))
    );
}

#[test]
fn a_finished_run_leaves_nothing_behind() {
    let place = Place::with(SMALL);
    fs::create_dir_all(place.path("out/checkpoint")).unwrap();
    // What kills in the midst of writing leave, and checkpoints of a spec that has changed since.
    let leftovers = [
        ".result.json.4194305-0.tmp",
        ".density.png.4194305-3.tmp",
        ".density.csv.4194305-1.tmp",
        "checkpoint/0123456789abcdef-monte-carlo.json",
        "checkpoint/.0123456789abcdef-case.json.4194305-0.tmp",
    ];
    for name in leftovers {
        place.write(&format!("out/{name}"), "{\"half");
    }
    std::thread::sleep(Duration::from_millis(50));
    place.result_of("out", &[]);
    let files = ["density.csv", "density.png", "density.svg", "result.json"];
    assert_eq!(place.names("out"), files);
}

#[test]
fn a_broken_checkpoint_is_done_again() {
    let place = Place::with(&long_spec());
    let job = [
        "predict",
        "spec.toml",
        "-q",
        "--set",
        "training.draws=1",
        "--set",
        "predict.draws=3000",
    ];
    let with = |folder: &'static str| [&job[..], &["-o", folder]].concat();
    let stored = || {
        let names = place.names("out/checkpoint");
        names.iter().any(|n| n.ends_with("gaussian-field.json"))
    };
    if kill(&place, &with("out"), stored, Duration::ZERO) {
        for name in place.names("out/checkpoint") {
            place.write(&format!("out/checkpoint/{name}"), "{\"members\": 12");
        }
    }
    place.succeed(&with("out"));
    place.succeed(&with("fresh"));
    assert_eq!(
        bare(place.json("out/result.json")),
        bare(place.json("fresh/result.json"))
    );
}
