//! The page in the browser of whoever sits here.

use std::io::IsTerminal;

/// Opens a URL where somebody would see it: started from a terminal, on a desktop, and not from afar.
///
/// Nothing depends on it: without a browser there is still the address to be read.
pub(crate) fn open(url: &str) {
    if is_watched(std::io::stdout().is_terminal(), |name| std::env::var_os(name).is_some())
        && let Err(error) = open::that_detached(url)
    {
        tracing::debug!(%error, url, "the page could not be opened");
    }
}

fn is_watched(terminal: bool, is_set: impl Fn(&str) -> bool) -> bool {
    let from_afar = is_set("SSH_CONNECTION") || is_set("CI");
    let desktop = cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    terminal && desktop && !from_afar
}

#[cfg(test)]
mod tests {
    use super::is_watched;

    #[test]
    fn a_page_is_opened_only_where_somebody_sees_it() {
        assert!(is_watched(true, |name| name == "WAYLAND_DISPLAY"));
        assert!(!is_watched(false, |name| name == "DISPLAY"), "the output goes to a file");
        assert!(
            !is_watched(true, |name| name == "DISPLAY" || name == "SSH_CONNECTION"),
            "the desktop is elsewhere"
        );
        assert!(!is_watched(true, |name| name == "DISPLAY" || name == "CI"), "nobody is there");
    }
}
