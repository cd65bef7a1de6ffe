//! NKeys instead of passwords: a seed per user of `nats.conf`, and the configuration with their public keys.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nkeys::KeyPair;

/// The configuration with passwords.
const NATS_CONF: &str = include_str!("../../nats.conf");
/// The name of the configuration with NKeys, in the folder of the seeds.
pub const CONFIG: &str = "nats.conf";
/// The beginning and the end of a user's block in the configuration.
const BLOCK: (&str, &str) = ("    {\n", "\n    }\n");
/// The part of the configuration's header that is about passwords: its beginning, and what follows it.
const PASSWORDS: (&str, &str) = ("# The storage folder", "\n\nlisten:");
/// The same part without passwords.
const HEADER: &str = "# Made by `demo provision --nkeys`, with a public key per user instead of a password. The storage folder\n\
    # ($NATS_STORE_DIR) comes from the environment.";

/// What [`write()`] has written.
#[derive(Debug)]
pub struct Written {
    /// The path of the configuration.
    pub config: PathBuf,
    /// The users whose seed was created; those of the others existed.
    pub created: Vec<String>,
}

/// Returns the path of a user's seed.
#[must_use]
pub fn seed_file(folder: &Path, user: &str) -> PathBuf {
    folder.join(format!("{user}.nk"))
}

/// Writes a seed per user, each in its own file `<user>.nk` that only its owner may read, and the configuration with the
/// public keys. Existing seeds are kept.
///
/// With `earlier`, the folder of other seeds, the configuration accepts those, too: for a rotation.
///
/// # Errors
///
/// If a file cannot be read or written, or is not a seed; or if both folders have the same seed of a user.
pub fn write(folder: &Path, earlier: Option<&Path>) -> anyhow::Result<Written> {
    let exists = || format!("making the folder {}", folder.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(exists)?;
    let users = users();
    let mut keys = BTreeMap::new();
    let mut created = Vec::new();
    for user in &users {
        let file = seed_file(folder, user);
        if !file.exists() {
            create(&file)?;
            created.push((*user).to_owned());
        }
        let mut accepted = vec![public_key(&file)?];
        if let Some(earlier) = earlier {
            let key = public_key(&seed_file(earlier, user))?;
            if accepted.contains(&key) {
                bail!("both folders have the same seed of {user}: name an empty folder for the new seeds");
            }
            accepted.push(key);
        }
        keys.insert(*user, accepted);
    }
    let config = folder.join(CONFIG);
    let text = with_nkeys(&keys)?;
    fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    Ok(Written { config, created })
}

/// Returns the users of the configuration.
#[must_use]
pub fn users() -> Vec<&'static str> {
    let lines = NATS_CONF.lines().filter_map(|line| line.trim_start().strip_prefix("user: "));
    lines.filter_map(|rest| rest.split_once(',')).map(|(user, _)| user).collect()
}

/// Creates the seed of a new key.
fn create(file: &Path) -> anyhow::Result<()> {
    let doing = || format!("writing {}", file.display());
    let seed = KeyPair::new_user().seed().with_context(doing)?;
    let mut created =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).with_context(doing)?;
    writeln!(created, "{seed}").with_context(doing)?;
    created.sync_all().with_context(doing)
}

fn public_key(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let key = KeyPair::from_seed(text.trim()).ok().filter(|key| key.public_key().starts_with('U'));
    let key = key.with_context(|| format!("{} has no seed of a user's NKey", file.display()))?;
    Ok(key.public_key())
}

/// Returns the configuration with the public keys of each user, one entry per key.
fn with_nkeys(keys: &BTreeMap<&str, Vec<String>>) -> anyhow::Result<String> {
    let (begin, end) = BLOCK;
    let mut config = String::new();
    let mut rest = NATS_CONF;
    while let Some((before, block)) = rest.split_once(begin) {
        let (block, after) = block.split_once(end).context("a user of nats.conf has no end")?;
        let (user, permissions) = block.split_once('\n').context("a user of nats.conf has no permissions")?;
        let user = user.trim_start().strip_prefix("user: ").and_then(|user| user.split_once(','));
        let (user, _) = user.context("a block of nats.conf has no user")?;
        config.push_str(before);
        for key in keys.get(user).into_iter().flatten() {
            config.push_str(&format!("{begin}      # {user}\n      nkey: {key}\n{permissions}{end}"));
        }
        rest = after;
    }
    config.push_str(rest);
    let (begin, end) = PASSWORDS;
    let parts = config.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.context("nats.conf has another header")?;
    Ok(format!("{before}{HEADER}{end}{after}"))
}
