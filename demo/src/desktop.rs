//! Opens the dashboard in the user's browser.

use std::io::IsTerminal;

/// Opens a URL if a user would see it: started from a terminal, on a desktop, neither over SSH nor in CI.
///
/// Nothing depends on it: the terminal shows the URL, too.
pub(crate) fn open(url: &str) {
    if is_interactive(std::io::stdout().is_terminal(), |name| std::env::var_os(name).is_some())
        && let Err(error) = open::that_detached(url)
    {
        tracing::debug!(%error, url, "the dashboard could not be opened in a browser");
    }
}

fn is_interactive(terminal: bool, is_set: impl Fn(&str) -> bool) -> bool {
    let is_remote = is_set("SSH_CONNECTION") || is_set("CI");
    let desktop = cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    terminal && desktop && !is_remote
}

#[cfg(test)]
mod tests {
    use super::is_interactive;

    #[test]
    fn the_browser_is_opened_only_on_an_interactive_desktop() {
        assert!(is_interactive(true, |name| name == "WAYLAND_DISPLAY"));
        assert!(!is_interactive(false, |name| name == "DISPLAY"), "the output goes to a file");
        assert!(
            !is_interactive(true, |name| name == "DISPLAY" || name == "SSH_CONNECTION"),
            "the desktop is on another machine"
        );
        assert!(!is_interactive(true, |name| name == "DISPLAY" || name == "CI"), "CI has no user");
    }
}
