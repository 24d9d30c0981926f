//! The binary, run to its end; and clusters of real processes in a folder that is removed with them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use klamm_faults::{Fleet, Member, Program};
use tempfile::TempDir;

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_klamm"))
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Done {
        Done {
            // A command that a signal ended has no code.
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Done {
    /// Standard output of a command that succeeded.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.good()).unwrap()
    }
}

/// Runs `klamm` with arguments and nothing on standard input.
pub fn klamm(arguments: &[&str]) -> Done {
    klamm_with("", arguments)
}

/// Runs `klamm` with this on standard input.
pub fn klamm_with(input: &str, arguments: &[&str]) -> Done {
    use std::io::Write;
    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Beside the reading of its output, or both could wait for each other.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let done = child.wait_with_output().unwrap().into();
    feeding.join().unwrap();
    done
}

/// Processes of a shape, not started yet. The folder lives as long as the second part.
pub fn fleet(members: Vec<Member>) -> (Fleet, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (
        Fleet::new(Program::Klamm(program().to_owned()), folder.path(), members).unwrap(),
        folder,
    )
}

/// `klamm dev`; it is stopped when this is dropped.
pub struct Dev {
    child: Child,
    pub bootstrap: String,
}

impl Dev {
    pub fn start(folder: &Path) -> Dev {
        Dev::start_with(folder, &[])
    }

    /// With more settings for every node.
    pub fn start_with(folder: &Path, settings: &[String]) -> Dev {
        let folder = folder.to_str().unwrap();
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut child = Command::new(program())
            .args(["dev", "--port", "0", "--in", folder, "--set", "log_level=warn"])
            .args(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        let bootstrap = told.split_whitespace().nth(1).unwrap().to_owned();
        Dev { child, bootstrap }
    }

    /// A command at this cluster, run to its end.
    pub fn klamm(&self, arguments: &[&str]) -> Done {
        klamm(&[&["--bootstrap", &self.bootstrap], arguments].concat())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
