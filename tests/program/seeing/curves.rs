//! The picture of a run, and its event file.

use super::*;

/// Whatever the losses are they can be drawn, and of a long curve neither an end nor a peak is lost.
#[test]
fn the_plot_is_short_and_shows_every_peak() {
    let desk = Desk::new();
    let flags = "--hidden 2 --batch 2 --seq-len 4 --report-every 1 --valid-fraction 0";
    desk.stdout(&format!("train text.txt {flags} --steps 1200 -o run"));
    let history = String::from_utf8(read(&desk.path("run/history.jsonl"))).unwrap();
    let with_losses = |loss: &dyn Fn(usize) -> f64| {
        let line = |(i, line): (usize, &str)| {
            let mut report: Value = serde_json::from_str(line).unwrap();
            report["train_loss"] = loss(i).into();
            format!("{report}\n")
        };
        let text: String = history.lines().enumerate().map(line).collect();
        desk.write("run/history.jsonl", text.as_bytes());
        desk.stdout("train --resume run --quiet");
        let svg = String::from_utf8(read(&desk.path("run/loss.svg"))).unwrap();
        assert!(
            !svg.contains("NaN") && svg.contains("updates") && svg.contains("\nrun\n"),
            "{svg}"
        );
        // The curve is the line with the most points.
        let lines = svg.split("points=\"").skip(1).map(|rest| {
            let points = rest.split('"').next().unwrap().split_whitespace();
            let numbers = |point: &str| {
                let (x, y) = point.split_once(',').unwrap();
                (x.parse::<f64>().unwrap(), y.parse::<f64>().unwrap())
            };
            points.map(numbers).collect::<Vec<_>>()
        });
        lines.max_by_key(Vec::len).unwrap()
    };
    let flat = with_losses(&|_| 2.0);
    assert!((2..=514).contains(&flat.len()), "{}", flat.len());
    let peaks =
        with_losses(&|i| [2.0, 1.0, 3.0][usize::from(i == 500) + 2 * usize::from(i == 777)]);
    assert!(peaks.len() <= 514 && peaks.is_sorted_by(|a, b| a.0 <= b.0));
    assert_eq!(
        (peaks[0].0, peaks.last().unwrap().0),
        (flat[0].0, flat.last().unwrap().0)
    );
    // Downwards in a picture is up in numbers: one point far above all others, one far below.
    let mut heights: Vec<f64> = peaks.iter().map(|point| point.1).collect();
    heights.sort_by(f64::total_cmp);
    assert!(
        heights[1] - heights[0] > 100.0
            && heights[heights.len() - 1] - heights[heights.len() - 2] > 100.0
    );
    with_losses(&|_| 0.0);
    with_losses(&|i| if i % 2 == 0 { 1e-300 } else { 1e300 });
    with_losses(&|i| if i % 2 == 0 { -1e300 } else { 1e300 });
}

/// The records of an event file, by its definition: length, checksum, data, checksum.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    // CRC-32C, bit by bit, masked.
    let checksum = |data: &[u8]| {
        let mut crc = !0u32;
        for &byte in data {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            }
        }
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let take = |bytes: &mut &[u8], n: usize| {
            let (taken, rest) = bytes.split_at(n);
            *bytes = rest;
            taken.to_vec()
        };
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        let length = take(&mut bytes, 8);
        assert_eq!(number(&take(&mut bytes, 4)), checksum(&length));
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let event = take(&mut bytes, length as usize);
        assert_eq!(number(&take(&mut bytes, 4)), checksum(&event));
        records.push(event);
    }
    records
}

/// The four bytes of an event after a tag and the key of its value.
fn scalar(event: &[u8], tag: &str) -> f32 {
    let at = event
        .windows(tag.len())
        .position(|part| part == tag.as_bytes());
    let value = &event[at.unwrap() + tag.len()..];
    assert_eq!(value[0], 0x15, "{tag}: field 2, 32 bits");
    f32::from_le_bytes(value[1..5].try_into().unwrap())
}

#[test]
fn tensorboard_reads_each_report_once_after_a_resume_too() {
    let desk = Desk::new();
    let flags = "text.txt --hidden 12 --batch 4 --seq-len 16 --report-every 10 --shards 2";
    desk.stdout(&format!("train {flags} --steps 25 --tensorboard -o run"));
    // Between two reports there was one more, for eyes alone.
    let events = || records(&read(&desk.path("run/events.out.tfevents.bptt")));
    assert_eq!(events().len(), 1 + 3);
    desk.stdout("train --resume run --steps 40");
    let (version, reports) = events()
        .split_first()
        .map(|(v, r)| (v.clone(), r.to_vec()))
        .unwrap();
    assert!(version.ends_with(b"\x1a\x0dbrain.Event:2"));
    let history = String::from_utf8(read(&desk.path("run/history.jsonl"))).unwrap();
    let history: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((reports.len(), history.len()), (4, 4));
    for (event, report) in reports.iter().zip(&history) {
        // After nine bytes of time: field 2, a number below 128.
        assert_eq!(
            [event[9], event[10]],
            [0x10, report["step"].as_u64().unwrap() as u8]
        );
        for (tag, name) in [
            ("loss/train", "train_loss"),
            ("loss/validation", "valid_loss"),
            ("optimisation/learning_rate", "lr"),
            ("optimisation/gradient_norm", "grad_norm"),
        ] {
            assert_eq!(
                scalar(event, tag),
                report[name].as_f64().unwrap() as f32,
                "{tag}"
            );
        }
    }
    // Killed after its checkpoint, in the middle of a record: the last whole one is of step 30.
    let path = desk.path("run/events.out.tfevents.bptt");
    let bytes = read(&path);
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    desk.stdout("train --resume run --steps 50");
    assert_eq!(events().len(), 1 + 5);
    // A run that began without has all of them too.
    desk.stdout(&format!("train {flags} --steps 20 -o late"));
    desk.stdout("train --resume late --steps 30 --tensorboard");
    assert_eq!(
        records(&read(&desk.path("late/events.out.tfevents.bptt"))).len(),
        1 + 3
    );
    // What is no event file of ours stays as it is.
    let strange = [&bytes[..24 + 16 - 4], &[0; 4]].concat();
    for content in [
        &b"my notes, longer than a frame"[..],
        &strange,
        &bytes[40..],
    ] {
        std::fs::write(&path, content).unwrap();
        let words = ["events.out.tfevents.bptt", "move it away"];
        desk.refused("train --resume run --steps 60", 1, &words);
        assert_eq!(read(&path), content);
    }
}
