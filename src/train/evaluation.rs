//! Once through evaluation data: [`evaluate`].
//!
//! Texts are evaluated in pieces that run side by side ([`Loader::evaluation_text`]), and yet as if one state were carried
//! through each document: a piece starts from where a run-in of some hundred tokens came to, and at its end every piece is
//! compared with the start of the piece that follows. Where the two are apart, all pieces of the group run again, each from
//! the end of the piece before it, until they agree. Each time at least one piece more of a document starts from where the
//! carried state would be, so this ends, at the latest with the carried state itself; a network that forgets needs no
//! second time.

use super::CarriedState;
use super::observers::Control;
use crate::data::{Loader, Position};
use crate::heads::Metrics;
use crate::{Engine, Network, Result, Scalar};
use ndarray::Array2;

/// How far a state may be from the state it stands for, of its own size plus one: what such a difference changes in the mean
/// loss of thousands of tokens is far behind the digits that are shown.
const APART: f64 = 1e-4;

/// Goes once through evaluation data ([`Loader::evaluation_text`], [`Loader::evaluation_sequences`]) at the speed of the
/// forward pass; `seen` is told the counted tokens of each window.
///
/// The loss of a text is that of a state carried through each document from a zero state at its start.
///
/// # Errors
/// As [`Loader::suit`] and [`Engine::evaluate`].
pub fn evaluate<T: Scalar>(
    engine: &mut Engine<T>,
    network: &Network<T>,
    data: &mut Loader<T>,
    mut seen: impl FnMut(u64),
) -> Result<Metrics> {
    let metrics = evaluate_until(engine, network, data, |tokens| {
        seen(tokens);
        Control::Continue
    });
    Ok(metrics?.expect("nobody stops it"))
}

/// [`evaluate`], unless `seen` stops it: `None` then.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_until<T: Scalar>(
    engine: &mut Engine<T>,
    network: &Network<T>,
    data: &mut Loader<T>,
    mut seen: impl FnMut(u64) -> Control,
) -> Result<Option<Metrics>> {
    let architecture = network.architecture();
    data.suit(&architecture)?;
    data.seek(Position::default())?;
    let mut carried = CarriedState::new(architecture.state());
    let mut all = Metrics::default();
    // Of the rows that run side by side: what they came to, whether they run again, and where they started.
    let (mut metrics, mut again) = (Metrics::default(), false);
    let (mut first, mut starts) = (Position::default(), Array2::zeros((0, 0)));
    let mut begun = false;
    loop {
        let window = data.next()?;
        let state = carried.enter(engine, &window);
        if !window.run_in && !begun {
            (begun, first) = (true, window.position);
            starts.clone_from(state);
        }
        match window.counted {
            0 => engine.advance(network, &window.batch, state)?,
            _ => metrics += engine.evaluate(network, &window.batch, Some(state))?,
        }
        carried.leave(engine, &window);
        let (last, ends) = (!window.follows.is_empty(), window.ends_epoch);
        let stop = !again && seen(window.counted) == Control::Stop;
        begun &= !last;
        again = last && carried.follow(engine, window.follows, &mut starts, APART);
        if engine.comm().map_or(stop, |comm| comm.any_rank(stop)) {
            return Ok(None);
        }
        if again {
            metrics = Metrics::default();
            data.seek(first)?;
        } else if last || ends {
            all += std::mem::take(&mut metrics);
        }
        if ends && !again {
            return Ok(Some(all));
        }
    }
}
