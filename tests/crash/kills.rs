//! SIGKILL at random moments.

use super::{Outcome, SMALL, Scene, kills_wanted};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What runs were doing when they were killed, as far as their folders tell.
#[derive(Debug, Default)]
struct Kills {
    starting: usize,
    before_the_first_checkpoint: usize,
    writing_a_file: usize,
    between: usize,
    after_the_last_step: usize,
}

impl Kills {
    fn count(&mut self, run: &Path, steps: &str) {
        let names: Vec<String> = std::fs::read_dir(run)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let has = |name: &str| names.iter().any(|other| other.starts_with(name));
        let history = std::fs::read_to_string(run.join("history.jsonl")).unwrap_or_default();
        let phase = if !has("config.json") {
            &mut self.starting
        } else if has(".tmp-") {
            &mut self.writing_a_file
        } else if !has("last.safetensors") {
            &mut self.before_the_first_checkpoint
        } else if history.contains(&format!("{{\"step\":{steps},")) {
            &mut self.after_the_last_step
        } else {
            &mut self.between
        };
        *phase += 1;
    }

    fn all(&self) -> [usize; 5] {
        [
            self.starting,
            self.before_the_first_checkpoint,
            self.writing_a_file,
            self.between,
            self.after_the_last_step,
        ]
    }
}

/// Kills one run again and again, until it ends before it is killed; then it must be as if nothing had been.
fn kill_through(
    scene: &Scene,
    run: &str,
    flags: &str,
    (expected, whole): &(Outcome, Duration),
    rng: &mut ChaCha8Rng,
    kills: &mut Kills,
) {
    let steps = flags.split_whitespace().last().unwrap();
    loop {
        let mut child = scene
            .train(run, flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Anywhere from before the first instruction to after the last.
        std::thread::sleep(whole.mul_f64(rng.random_range(0.0..1.1)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        scene.check(run);
        if status.success() {
            return Outcome::of(&scene.path(run)).assert_is(expected, run);
        }
        assert_eq!(status.code(), None, "{run}: it ended by itself");
        kills.count(&scene.path(run), steps);
    }
}

#[test]
fn a_run_that_is_killed_ends_as_one_that_is_not() {
    let scene = Scene::new();
    let wanted = kills_wanted().unwrap_or(20);
    let mut rng = ChaCha8Rng::seed_from_u64(wanted as u64);
    let variants = [
        SMALL.to_string(),
        SMALL.replace("--steps", "--checkpoint-every 1 --dropout 0.3 --steps"),
        SMALL.replace("--steps", "--checkpoint-every 3 --valid-fraction 0 --steps"),
        // Most of its time goes into steps.
        "text.txt --hidden 32 --batch 4 --seq-len 16 --report-every 100 --checkpoint-every 70 --steps 450".into(),
    ];
    let expected: Vec<_> = variants
        .iter()
        .enumerate()
        .map(|(i, flags)| {
            let begin = Instant::now();
            let outcome = scene.finish(&format!("whole-{i}"), flags);
            (outcome, begin.elapsed())
        })
        .collect();
    let (mut kills, mut runs) = (Kills::default(), 0);
    while kills.all().iter().sum::<usize>() < wanted {
        let i = runs % variants.len();
        let run = format!("run-{runs}");
        kill_through(
            &scene,
            &run,
            &variants[i],
            &expected[i],
            &mut rng,
            &mut kills,
        );
        runs += 1;
    }
    println!(
        "{} kills of {runs} runs: {kills:?}",
        kills.all().iter().sum::<usize>()
    );
    if wanted >= 200 {
        assert!(!kills.all().contains(&0), "they are not spread: {kills:?}");
    }
}
