//! Lists the measurements in `measurements/`, which are compiled in, and finds out what is built. Links the static
//! libpcap of a folder if `PATHSPIDER_STATIC_PCAP` names one (see `.packaging/libpcap`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    list(&folder.join("measurements"))?;
    static_pcap();
    println!("cargo::rustc-env=PATHSPIDER_COMMIT={}", commit(&folder)?);
    println!("cargo::rustc-env=PATHSPIDER_BUILD={}", build()?);
    Ok(())
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}

/// Writes the list of the shipped measurements.
fn list(folder: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            names.extend(path.file_stem().and_then(|name| Some(name.to_str()?.to_owned())));
        }
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        writeln!(
            list,
            "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/measurements/{name}.toml\"))),"
        )
        .map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&variable("OUT_DIR")?).join("shipped.rs"), list)
}

/// The commit: from PATHSPIDER_COMMIT, which a packager sets; from a published crate; from git.
///
/// A debug build has none: every commit would make cargo compile the program again.
fn commit(folder: &Path) -> io::Result<String> {
    println!("cargo::rerun-if-env-changed=PATHSPIDER_COMMIT");
    if let Ok(given) = env::var("PATHSPIDER_COMMIT") {
        return Ok(given);
    }
    if variable("PROFILE")? == "debug" {
        return Ok("not recorded in a debug build".into());
    }
    if let Ok(published) = fs::read_to_string(folder.join(".cargo_vcs_info.json")) {
        let digits = published.split('"').find(|word| word.len() == 40 && is_hex(word));
        return Ok(digits.unwrap_or("unknown").into());
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim_end().to_owned())
    };
    // Not the commit of another repository that this folder was unpacked in.
    let own = |top: String| fs::canonicalize(top).ok() == fs::canonicalize(folder).ok();
    if !git(&["rev-parse", "--show-toplevel"]).is_some_and(own) {
        return Ok("unknown (not built in a git repository)".into());
    }
    // HEAD changes with the branch, its log with each commit; the rest is what can make the tree differ.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]).map(|path| folder.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    for path in ["src", "schema", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", folder.join(path).display());
    }
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let changed = if changes.is_some_and(|text| text.is_empty()) { "" } else { " with changes" };
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".into());
    Ok(format!("{commit}{changed}"))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `release, rustc 1.95.0 (59807616e 2026-04-14), x86_64-unknown-linux-gnu`.
fn build() -> io::Result<String> {
    // OUT_DIR is PROFILE/build/pathspider-HASH/out; the variable PROFILE is only that which the profile inherits from.
    let out = PathBuf::from(variable("OUT_DIR")?);
    let folder =
        out.ancestors().nth(3).and_then(Path::file_name).map(|name| name.to_string_lossy());
    let profile = match folder.as_deref() {
        None => variable("PROFILE")?,
        Some(name) => name.to_owned(),
    };
    let rustc = Command::new(variable("RUSTC")?).arg("--version").output()?;
    let rustc = String::from_utf8_lossy(&rustc.stdout);
    Ok(format!("{profile}, {}, {}", rustc.trim_end(), variable("TARGET")?))
}

/// Links the static libpcap of a folder, if a packager names one.
fn static_pcap() {
    println!("cargo::rerun-if-env-changed=PATHSPIDER_STATIC_PCAP");
    if let Some(folder) = env::var_os("PATHSPIDER_STATIC_PCAP") {
        println!("cargo::rustc-link-search=native={}", Path::new(&folder).display());
        println!("cargo::rustc-link-lib=static=pcap");
    }
}
