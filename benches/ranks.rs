//! What several machines would come to: a model of cost, checked against ranks on this machine, and a table of what it
//! predicts for 2 to 256 nodes. Needs the feature `mpi`.
//!
//! ```text
//! cargo bench --features mpi --bench ranks -- [--latency SECONDS] [--bandwidth BYTES/S] [--shape NAME]... [--seconds S]
//! ```
//!
//! A step on `P` ranks takes `compute + reduction(P)`, with `compute` from `bptt bench` for a rank's part of the batch (here, on
//! `P` processes at once that know nothing of each other) and
//!
//! ```text
//! hop        latency + segment / bandwidth + segment / adding      a segment from rank to rank, added on the way
//! chain      (P - 2 + segments) hop                                the sum, in the order of the shards
//! broadcast  ceil(log2 P) latency + min(2, P - 1) bytes / bandwidth   the total, to all
//! tallies    ceil(log2 P) latency                                  losses and counts
//! ```
//!
//! With `--reduction fast` an `MPI_Allreduce` takes the place of chain and broadcast, in the order it likes: by recursive halving
//! and doubling (Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005),
//! `2 ceil(log2 P) latency + (P - 1) / P (2 bytes / bandwidth + bytes / adding)`.
//!
//! Latency and bandwidth of a network are given, 2e-6 s and 12.5e9 bytes/s (100 Gbit/s) where they are not. Those between
//! the processes of this machine are measured, with as many processes as are then predicted (more than there are cores take
//! turns, which is a latency too), and those between two hosts: network namespaces of this machine, where it has any. The
//! latency is that of a whole step of next to no work, so what the program itself does for each message is in it; of two
//! ranks here, it is added to that of a network that is given.

use bptt::EngineOptions;
use bptt::internal::REDUCTION_SEGMENT;
use bptt::internal::measure::{Shape, Workload, median};
use bptt::ranks::Reduction;
use bptt::ranks::mpi::World;
use serde_json::Value;
use std::process::Command;
use std::time::Instant;

/// Bytes that go from rank to rank at a time.
const SEGMENT: f64 = (REDUCTION_SEGMENT * size_of::<f32>()) as f64;

/// Says that this process is one of those that measure what connects them.
const PING: &str = "--ping";

/// What connects ranks.
#[derive(Clone, Copy)]
struct Network {
    /// Seconds.
    latency: f64,
    /// Bytes a second.
    bandwidth: f64,
    /// Bytes a second that a rank adds to its own.
    adding: f64,
}

impl Network {
    /// Seconds that `ranks` ranks spend on the sum of gradients of so many bytes.
    fn reduction(&self, ranks: usize, bytes: f64) -> f64 {
        let levels = (ranks as f64).log2().ceil();
        let segments = (bytes / SEGMENT).ceil();
        let segment = bytes / segments;
        let hop = self.latency + segment / self.bandwidth + segment / self.adding;
        let chain = (ranks as f64 - 2.0 + segments) * hop;
        let broadcast =
            levels * self.latency + 2f64.min(ranks as f64 - 1.0) * bytes / self.bandwidth;
        chain + broadcast + levels * self.latency
    }

    /// The same in the order that MPI likes.
    fn fast_reduction(&self, ranks: usize, bytes: f64) -> f64 {
        let levels = (ranks as f64).log2().ceil();
        let moved = bytes * (1.0 - 1.0 / ranks as f64);
        3.0 * levels * self.latency + moved * (2.0 / self.bandwidth + 1.0 / self.adding)
    }

    /// Between the processes of `world`: from a step of one unit and one sequence a rank, against one alone, and from small
    /// messages and segments that go once around.
    fn measure(world: &World) -> Network {
        let (ranks, rank, size) = (world.ranks(), world.rank(), world.size());
        let [next, before] = [1, size - 1].map(|step| (rank + step) % size);
        let seconds = |bytes: usize| {
            let mut buffer = vec![0u8; bytes];
            let mut times: Vec<_> = (0..200)
                .map(|_| {
                    let begin = Instant::now();
                    if rank == 0 {
                        ranks.send(&buffer, next);
                        ranks.receive(&mut buffer, before);
                    } else {
                        ranks.receive(&mut buffer, before);
                        ranks.send(&buffer, next);
                    }
                    begin.elapsed().as_secs_f64() / size as f64
                })
                .collect();
            median(&mut times)
        };
        let step = |ranks: usize| {
            let shape = Shape::new([ranks, 1, 1, 1, 1]).expect("a shape");
            let options = EngineOptions {
                threads: 1,
                shards: ranks,
                ..EngineOptions::default()
            };
            let workload = Workload::<f32>::new(shape, options, 0);
            let mut workload = workload.expect("a workload");
            if ranks > 1 {
                let joined = workload.join(world.ranks(), Reduction::Ordered);
                workload = joined.expect("all ranks are alike");
            }
            let mut times: Vec<_> = (0..500)
                .map(|_| {
                    let begin = Instant::now();
                    workload.step().expect("a step");
                    begin.elapsed().as_secs_f64()
                })
                .collect();
            median(&mut times)
        };
        let nothing = Network {
            latency: 1.0,
            bandwidth: f64::INFINITY,
            adding: f64::INFINITY,
        };
        Network {
            latency: (step(size) - step(1)).max(0.0) / nothing.reduction(size, 1.0),
            bandwidth: SEGMENT / (seconds(SEGMENT as usize) - seconds(8)).max(1e-9),
            adding: adding(),
        }
    }
}

/// Bytes a second at which one core adds a segment to another.
fn adding() -> f64 {
    let n = REDUCTION_SEGMENT;
    let (mut sum, part) = (vec![0f32; n], vec![1e-3f32; n]);
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            sum.iter_mut().zip(&part).for_each(|(a, b)| *a += b);
            std::hint::black_box(&mut sum);
            begin.elapsed().as_secs_f64()
        })
        .collect();
    SEGMENT / median(&mut times)
}

/// What `bptt bench` says of a shape.
struct Step {
    seconds: f64,
    /// In GFLOP/s, timed in turn with the steps.
    roof: f64,
}

/// Processes that are to be one run.
#[derive(Clone, Copy)]
enum Launch {
    Alone,
    Ranks(usize),
    TwoHosts,
}

impl Launch {
    fn ranks(self) -> usize {
        match self {
            Launch::Alone => 1,
            Launch::Ranks(ranks) => ranks,
            Launch::TwoHosts => 2,
        }
    }

    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Launch::Alone => return Command::new(program),
            Launch::Ranks(ranks) => {
                let mut command = Command::new("mpirun");
                command.args(["--oversubscribe", "-n", &ranks.to_string()]);
                command
            }
            Launch::TwoHosts => {
                let mut command = Command::new("bash");
                command.arg(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/tests/fixtures/two_hosts.sh"
                ));
                command
            }
        };
        command
            .arg(program)
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command
    }

    /// What connects them; `None` where they cannot be.
    fn measure(self) -> Option<Network> {
        let this = std::env::current_exe().expect("this program");
        let mut command = self.command(&this.to_string_lossy());
        let output = command.arg(PING).output();
        let output = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
        let numbers: Vec<f64> = output.split_whitespace().flat_map(str::parse).collect();
        let [latency, bandwidth, adding] = numbers[..] else {
            return None;
        };
        Some(Network {
            latency,
            bandwidth,
            adding,
        })
    }
}

impl std::fmt::Display for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Launch::TwoHosts => f.pad("two hosts"),
            launch if launch.ranks() == 1 => f.pad("1 rank"),
            launch => f.pad(&format!("{} ranks", launch.ranks())),
        }
    }
}

/// A step by `bptt bench`, on so many threads of each rank, each a shard.
fn bench(shape: Shape, launch: Launch, threads: usize, seconds: f64) -> Step {
    let mut command = launch.command(env!("CARGO_BIN_EXE_bptt"));
    let sizes = shape.sizes().map(|size| size.to_string()).join(",");
    let output = command
        .args(["bench", "--log", "json", "--shape", &sizes])
        .args(["--threads", &threads.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .output()
        .expect("bptt runs");
    let line: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        panic!("bptt bench: {}", String::from_utf8_lossy(&output.stderr));
    });
    let number = |name: &str| line[name].as_f64().expect("a number");
    Step {
        seconds: number("step_ms") / 1e3,
        roof: number("roof_gflops"),
    }
}

/// The same on as many processes of one thread that know nothing of each other, each with the part of the batch that a rank
/// has: the mean of their steps, and what all reach together.
fn bench_apart(shape: Shape, processes: usize, seconds: f64) -> Step {
    let [n, t, n_x, n_h, n_y] = shape.sizes();
    let part = Shape::new([n.div_ceil(processes), t, n_x, n_h, n_y]).expect("a shape");
    let steps: Vec<Step> = std::thread::scope(|scope| {
        let start = |_| scope.spawn(move || bench(part, Launch::Alone, 1, seconds));
        let running: Vec<_> = (0..processes).map(start).collect();
        let ended = running.into_iter().map(|bench| bench.join());
        ended.map(|step| step.expect("bptt bench")).collect()
    });
    Step {
        seconds: steps.iter().map(|step| step.seconds).sum::<f64>() / processes as f64,
        roof: steps.iter().map(|step| step.roof).sum(),
    }
}

struct Options {
    cores: usize,
    given: Network,
    shapes: Vec<Shape>,
    seconds: f64,
}

fn options() -> Options {
    let mut options = Options {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        given: Network {
            latency: 2e-6,
            bandwidth: 12.5e9,
            adding: adding(),
        },
        shapes: Vec::new(),
        seconds: 2.0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        let number = |text: String| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} {text}: no number"))
        };
        match name.as_str() {
            "--latency" => options.given.latency = number(value()),
            "--bandwidth" => options.given.bandwidth = number(value()),
            "--seconds" => options.seconds = number(value()),
            "--shape" => options.shapes.push(value().parse().expect("a shape")),
            "--bench" => {}
            other => panic!("{other}: expected --latency, --bandwidth, --shape or --seconds"),
        }
    }
    if options.shapes.is_empty() {
        options.shapes = Shape::all_named().collect();
    }
    options
}

/// What ranks of one thread on this machine take, as a part of what is predicted.
fn check(launch: Launch, here: Option<Network>, shape: Shape, seconds: f64) -> f64 {
    let (ranks, bytes) = (launch.ranks(), 4.0 * shape.architecture.len() as f64);
    // In turn with what is predicted, and against the roof of each, for a machine's speed may change between the two.
    let mut ratios: Vec<_> = (0..3)
        .map(|_| {
            let compute = bench_apart(shape, ranks, seconds);
            let predicted = compute.seconds + here.map_or(0.0, |here| here.reduction(ranks, bytes));
            let measured = bench(shape, launch, 1, seconds);
            measured.seconds * measured.roof / (predicted * compute.roof)
        })
        .collect();
    median(&mut ratios)
}

fn main() {
    // One of those that measure what connects them.
    if std::env::args().any(|argument| argument == PING) {
        let world = World::start().expect("MPI").expect("not yet started");
        let network = Network::measure(&world);
        if world.rank() == 0 {
            println!(
                "{} {} {}",
                network.latency, network.bandwidth, network.adding
            );
        }
        return;
    }
    let options = options();
    // What the program itself does for a message, on any network.
    let own = check_all(&options).unwrap_or(0.0);
    predict(&options, own);
}

/// Predicts what can be measured here; returns the latency of two ranks.
fn check_all(options: &Options) -> Option<f64> {
    let (mut worst, mut own) = (0f64, None);
    for launch in [
        Launch::Ranks(1),
        Launch::Ranks(2),
        Launch::Ranks(4),
        Launch::TwoHosts,
    ] {
        // One rank has nobody to send to.
        let here = match launch.ranks() {
            1 => None,
            _ => match launch.measure() {
                None => {
                    println!("{launch}: not to be had here\n");
                    continue;
                }
                here => here,
            },
        };
        let connection = here.map_or(String::new(), |here| {
            format!(
                ", {:.1} us, {:.1} GB/s, {:.1} GB/s added",
                1e6 * here.latency,
                here.bandwidth / 1e9,
                here.adding / 1e9
            )
        });
        println!("{launch} here{connection}; steps as parts of the prediction:");
        for &shape in &options.shapes {
            let ratio = check(launch, here, shape, options.seconds);
            worst = worst.max((ratio - 1.0).abs());
            println!("  {shape:<9} {ratio:.3}");
        }
        own = own.or(here.map(|here| here.latency));
    }
    println!("the prediction is off by {:.0} % at most\n", 100.0 * worst);
    own
}

/// The table of what many nodes would come to.
fn predict(options: &Options, own: f64) {
    let network = Network {
        latency: options.given.latency + own,
        ..options.given
    };
    println!(
        "predicted: nodes like this one, each with a batch of its own, on a network of {:.1} us (and {:.1} of our own) and \
         {:.1} GB/s;\nparts of the speed of as many nodes alone. The network is the limit of 256 nodes below so many \
         sequences a node. `fast` is with --reduction fast.\n",
        1e6 * options.given.latency,
        1e6 * own,
        network.bandwidth / 1e9
    );
    let nodes = [2, 4, 8, 16, 32, 64, 128, 256];
    print!("{:<9} {:>6} {:>11}", "shape", "N/node", "tokens/s");
    nodes.iter().for_each(|n| print!("{n:>7}"));
    println!(
        "{:>10} {:>11} {:>12}",
        "256 fast", "256: tok/s", "limit at N"
    );
    let Options { cores, seconds, .. } = *options;
    for &shape in &options.shapes {
        let compute = bench(shape, Launch::Alone, cores, seconds).seconds;
        let bytes = 4.0 * shape.architecture.len() as f64;
        let reduction = |n| network.reduction(n, bytes);
        let rate = shape.tokens() as f64 / compute;
        print!("{shape:<9} {:>6} {rate:>11.0}", shape.n);
        for n in nodes {
            print!("{:>6.0}%", 100.0 * compute / (compute + reduction(n)));
        }
        let all = 256.0 * shape.tokens() as f64 / (compute + reduction(256));
        let limit = shape.n as f64 * reduction(256) / compute;
        let fast = 100.0 * compute / (compute + network.fast_reduction(256, bytes));
        println!("{fast:>9.0}% {all:>11.2e} {limit:>12.0}");
    }
}
