//! `config.json`: the settings of a run, from which it goes on.
//!
//! It is read as a stranger's: each setting must be one that the command line could have given, and of this version.

use super::args;
use super::errors::flag;
use super::run_folder;
use super::settings::{CHANGEABLE, Config, LONGER, Settings, is_flag, is_open};
use anyhow::{Context, Result, bail};
use bptt::train::Changes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// The longest `config.json` that is read: thousands of paths fit in.
const LONGEST_CONFIG: u64 = 1 << 24;

impl Config {
    /// The settings of the run in `folder`, but for the settings `given` on the command line, which `fresh` holds.
    /// And what of them changes.
    pub fn resume(
        folder: &Path,
        given: &[String],
        fresh: Config,
        ranks: usize,
    ) -> Result<(Self, Changes)> {
        let path = folder.join(run_folder::CONFIG);
        let text = bptt::internal::atomic::read(&path, LONGEST_CONFIG)?;
        let new = fields(&fresh)?;
        let mut settings = check(&text, &new)
            .with_context(|| format!("{} is not the configuration of a run", path.display()))?;
        let mut changes = Changes::new();
        for name in given {
            let (old, new) = (&settings[name], &new[name]);
            let flag = flag(name);
            if LONGER.contains(&&name[..]) && new.as_u64() < old.as_u64() {
                bail!("{flag} {new}: the run already has {old}; more is possible, less is not");
            }
            if CHANGEABLE.contains(&&name[..]) && old != new {
                changes.insert(name.clone(), new.clone());
            }
            if !is_open(name) && old != new {
                let old = match old {
                    Value::Null => "none".into(),
                    old => old.to_string(),
                };
                bail!(
                    "{flag} {new} differs from the run in {}, which has {old}: leave it out to go on, or start another run",
                    folder.display()
                );
            }
            settings.insert(name.clone(), new.clone());
        }
        let mut config: Config = serde_json::from_value(settings.into())?;
        // A part of the shards for each rank.
        config.settings.shards = config.settings.shards.max(Some(ranks));
        if ranks > 1 {
            config.threads = fresh.threads;
        }
        (config.blas, config.simd) = (fresh.blas, fresh.simd);
        Ok((config, changes))
    }
}

/// The fields of a `config.json`, if they are what the command line could have given; `ours` are the fields of this version.
fn check(text: &[u8], ours: &Map<String, Value>) -> Result<Map<String, Value>> {
    let settings: Map<String, Value> = serde_json::from_slice(text)?;
    check_fields(&settings, ours)?;
    // Each setting must be one that the command line could have given.
    let mut words = vec!["bptt".to_string(), "train".into()];
    for (name, value) in settings.iter().filter(|(name, _)| is_flag(name)) {
        let flag = flag(name);
        match value {
            Value::Null | Value::Bool(false) | Value::Array(_) => {}
            Value::Bool(true) => words.push(flag),
            Value::String(value) => words.push(format!("{flag}={value}")),
            value => words.push(format!("{flag}={value}")),
        }
    }
    if let Err(error) = args::command().try_get_matches_from(words) {
        bail!("{}", error.to_string().lines().next().unwrap_or_default());
    }
    let config: Config = serde_json::from_value(settings.clone().into())?;
    if config.settings.steps.or(config.settings.epochs).is_none() {
        bail!("neither `steps` nor `epochs` is given, expected a length of the run");
    }
    Ok(settings)
}

/// Settings as JSON holds them.
pub fn fields(settings: &impl Serialize) -> Result<Map<String, Value>> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => Ok(fields),
        // Of all settings, only paths can be what JSON has no word for.
        _ => bail!(
            "the name of a DATA or --valid is not UTF-8, so config.json could not say what the run was trained on: rename it, \
             or give a link to it"
        ),
    }
}

/// Refuses settings of another version: each field of this version must be there, and no other.
fn check_fields(theirs: &Map<String, Value>, ours: &Map<String, Value>) -> Result<()> {
    let unknown = theirs.keys().find(|name| !ours.contains_key(*name));
    let missing = ours.keys().find(|name| !theirs.contains_key(*name));
    let wrong = match (unknown, missing) {
        (Some(name), _) => format!("`{name}` is no setting of a run"),
        (None, Some(name)) => format!("`{name}` is missing"),
        (None, None) => return Ok(()),
    };
    bail!(
        "{wrong}: it was written by another version of bptt than this, {}; go on with that version, or start another run",
        env!("CARGO_PKG_VERSION")
    )
}

impl Settings {
    /// Refuses the settings of a checkpoint that is not of this run: whatever is not to be changed when a run goes on must
    /// be equal.
    pub fn check_same_run(&self, theirs: &Value) -> Result<()> {
        let ours = fields(self)?;
        let theirs = theirs.as_object().cloned().unwrap_or_default();
        check_fields(&theirs, &ours)?;
        // There are more shards where more ranks went on than there were.
        let may_differ = |name: &str| is_open(name) || name == "shards";
        let mut names = ours.keys().filter(|name| !may_differ(name));
        if let Some(name) = names.find(|&name| theirs[name] != ours[name]) {
            let (ours, theirs) = (&ours[name], &theirs[name]);
            bail!("its `{name}` is {theirs}, that of config.json is {ours}");
        }
        Ok(())
    }

    /// Which of the files that the run was trained on are not where they were.
    pub fn missing(&self) -> Option<String> {
        let all = self.data.iter().chain(&self.valid);
        let missing: Vec<_> = all
            .filter(|path| !path.is_file() && !path.is_dir())
            .map(|path| path.display().to_string())
            .collect();
        (!missing.is_empty()).then(|| {
            format!(
                "config.json says that the run was trained on {} (from where it was started): give DATA, and --valid if there \
                 was one, again",
                missing.join(", ")
            )
        })
    }
}
