//! Writes the files of `tests/corpus`: encodings of arbitrary values, after a line that names message and version.
//!
//!     cargo run -p klamm-wire --features testing --example corpus -- DIR [COUNT]
//!
//! Without COUNT: one file for the lowest and one for the highest version of each message. With it: that many for each
//! version, to show them to another implementation.

use std::path::PathBuf;
use std::{env, fs, io};

use klamm_wire::testing::support::Source;
use klamm_wire::testing::{MESSAGES, corpus_entry};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or_else(|| io::Error::other("which folder?"))?);
    let count: Option<usize> = arguments.next().and_then(|text| text.parse().ok());
    fs::create_dir_all(&folder)?;
    let mut source = Source::new(1);
    for message in MESSAGES {
        let (min, max) = (message.versions.min, message.versions.max);
        for version in min..=max {
            if count.is_none() && version != min && version != max {
                continue;
            }
            for number in 0..count.unwrap_or(1) {
                let bytes = loop {
                    let bytes = (message.arbitrary)(&mut source, version);
                    // The files in the tree stay small.
                    if count.is_some() || bytes.len() < 1500 {
                        break bytes;
                    }
                };
                let name = format!("{}-{version}-{number}", message.name);
                fs::write(folder.join(name), corpus_entry(message, version, &bytes))?;
            }
        }
    }
    Ok(())
}
