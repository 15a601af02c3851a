//! Lists the measurements in `measurements/`, which are compiled in. Links the static libpcap of a folder if
//! `PATHSPIDER_STATIC_PCAP` names one (see `.packaging/libpcap`).

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var(name).map_err(io::Error::other);
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("measurements");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", folder.display());
    static_pcap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
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

/// Links the static libpcap of a folder, if a packager names one.
fn static_pcap() {
    println!("cargo::rerun-if-env-changed=PATHSPIDER_STATIC_PCAP");
    if let Some(folder) = env::var_os("PATHSPIDER_STATIC_PCAP") {
        println!("cargo::rustc-link-search=native={}", Path::new(&folder).display());
        println!("cargo::rustc-link-lib=static=pcap");
    }
}
