//! SIGKILL at random moments.

use super::{Outcome, SMALL, Scene, kills_wanted};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Kills one run again and again, until it ends before it is killed; then it must be as if nothing had been.
fn kill_through(
    scene: &Scene,
    run: &str,
    flags: &str,
    expected: &Outcome,
    rng: &mut ChaCha8Rng,
    whole: Duration,
) -> usize {
    for kills in 0.. {
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
            Outcome::of(&scene.path(run)).assert_is(expected, &format!("{run}, {kills} kills"));
            return kills;
        }
        assert_eq!(status.code(), None, "{run}: it ended by itself");
    }
    unreachable!()
}

#[test]
fn a_run_that_is_killed_ends_as_one_that_is_not() {
    let scene = Scene::new();
    let wanted = kills_wanted().unwrap_or(20);
    let mut rng = ChaCha8Rng::seed_from_u64(wanted as u64);
    let variants = [
        SMALL.to_string(),
        format!("{SMALL} --checkpoint-every 1"),
        format!("{SMALL} --checkpoint-every 3 --valid-fraction 0"),
        // Most of its time goes into steps.
        "text.txt --hidden 32 --batch 4 --seq-len 16 --report-every 100 --checkpoint-every 70 --steps 450".into(),
    ];
    let (mut kills, mut runs) = (0, 0);
    let expected: Vec<_> = variants
        .iter()
        .enumerate()
        .map(|(i, flags)| {
            let begin = Instant::now();
            let outcome = scene.finish(&format!("whole-{i}"), flags);
            (outcome, begin.elapsed())
        })
        .collect();
    while kills < wanted {
        let i = runs % variants.len();
        let run = format!("run-{runs}");
        let (outcome, whole) = &expected[i];
        kills += kill_through(&scene, &run, &variants[i], outcome, &mut rng, *whole);
        runs += 1;
    }
    println!("{kills} kills of {runs} runs");
}
