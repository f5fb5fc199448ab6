//! `docs/config.md`: the reference of the configuration, as the server itself tells it.

use std::path::PathBuf;
use std::process::Command;

/// Asks the binary that was built beside this one.
pub fn render() -> Result<String, String> {
    let binary = binary()?;
    let output =
        Command::new(&binary).args(["config", "show", "--reference"]).output().map_err(|e| {
            format!("{}: {e}; build it: cargo build -p verona-server", binary.display())
        })?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("verona config show --reference: {}\n{error}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "the reference is not UTF-8".to_owned())
}

fn binary() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("where am I: {e}"))?;
    Ok(own.with_file_name(format!("verona{}", std::env::consts::EXE_SUFFIX)))
}
