//! Texts of accounts: what is taken reads the same again and holds no number of a card.
#![no_main]

use contracts::account::{CardToken, Email, Expiry, LastFour, Line, Phone, looks_like_a_card_number};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(line) = Line::parse(text) {
        assert!(!looks_like_a_card_number(line.as_str()));
        assert_eq!(Line::parse(line.as_str()).as_ref(), Ok(&line));
    }
    if let Ok(token) = CardToken::parse(text) {
        assert!(!looks_like_a_card_number(token.as_str()));
    }
    if let Ok(email) = Email::parse(text) {
        assert_eq!(Email::parse(email.as_str()).as_ref(), Ok(&email));
    }
    if let Ok(phone) = Phone::parse(text) {
        assert_eq!(Phone::parse(String::from(phone.clone())), Ok(phone));
    }
    if let Ok(expiry) = Expiry::parse(text) {
        assert_eq!(Expiry::parse(expiry.to_string()), Ok(expiry));
    }
    if let Ok(digits) = LastFour::parse(text) {
        assert_eq!(String::from(digits), text);
    }
});
