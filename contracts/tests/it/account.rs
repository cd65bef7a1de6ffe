//! The contents of accounts; and that no card number is accepted or repeated.

use choreography::{Messages as _, Publish as _};
use contracts::account::{
    AccountCommand, AccountDetails, AccountEvent, AccountRefusal, CardToken, Email, Expiry, LastFour, Line,
    MAX_LINE, Phone, looks_like_a_card_number,
};
use contracts::query::AccountView;
use serde_json::{Value, json};

/// Test numbers of card companies.
const CARDS: [&str; 8] = [
    "4111111111111111",    // Visa
    "4222222222222",       // Visa, 13 digits
    "5555555555554444",    // Mastercard
    "2223003122003222",    // Mastercard, series 2
    "378282246310005",     // American Express
    "30569309025904",      // Diners Club
    "6011111111111117",    // Discover
    "6799990100000000019", // Maestro, 19 digits
];

/// Writes a number in groups of four with a separator.
fn grouped(number: &str, between: &str) -> String {
    let groups: Vec<_> = number.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(between)
}

fn wide(number: &str) -> String {
    number.bytes().map(|byte| char::from_u32(0xff10 + u32::from(byte - b'0')).unwrap()).collect()
}

/// Spellings of a card number in a text field.
fn spelled(number: &str) -> Vec<String> {
    let mut texts: Vec<String> = ["", " ", "-", ".", "/", "_", " - ", "  ", "\u{a0}", "\u{2011}"]
        .map(|between| grouped(number, between))
        .into();
    texts.extend([
        format!("my card is {number}, thanks"),
        format!("Card{number}x"),
        format!("{number}/12/30"),
        format!("99 {number} 123"),
        number.chars().map(|digit| format!("{digit} ")).collect(),
        wide(number),
    ]);
    texts
}

fn details() -> Value {
    json!({
        "name": "Zoë O’Neill",
        "addresses": [{
            "type": "billing", "street": "Unter den Linden 77", "postalCode": "10117", "city": "Berlin", "country": "DE"
        }],
        "contact": {"email": "zoe@example.org", "phone": "+49 30 123456"},
        "card": {"token": "tok_1N3T00LkdIwHu7ix", "brand": "Visa", "lastFour": "1111", "expiry": "2030-12"},
        "creditLimit": {"amount": 100_000, "currency": "EUR"}
    })
}

#[test]
fn a_card_number_is_recognised_however_it_is_written() {
    for number in CARDS {
        for text in spelled(number) {
            assert!(looks_like_a_card_number(&text), "{text:?}");
        }
    }
}

#[test]
fn a_text_that_only_resembles_a_card_number_is_not_one() {
    for text in [
        "",
        "4111111111111112",         // the check digit is wrong
        "411111111111",             // 12 digits
        "0000000000000000",         // never issued
        "4111 1111 and 1111 1111",  // words in between
        "4111 1111 ---- 1111 1111", // too many separators
        "12 Main Street 34, 10115 Berlin",
        "00000000-4111-1111-1111-111100000000", // a UUID
        "8e03978e-40d5-43e8-bc93-689457593240",
        "tok_1N3T00LkdIwHu7ixRaFXnO2w",
    ] {
        assert!(!looks_like_a_card_number(text), "{text:?}");
    }
}

#[test]
fn a_long_text_is_searched_quickly() {
    let start = std::time::Instant::now();
    assert!(!looks_like_a_card_number(&"1 ".repeat(50_000)));
    assert!(!looks_like_a_card_number(&"1".repeat(50_000)));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn no_text_field_takes_a_card_number_and_no_error_repeats_it() {
    for number in CARDS {
        for text in spelled(number) {
            let mail = format!("{number}@example.org");
            let refusals = [
                Line::parse(&text).map(drop).map_err(|error| error.to_string()),
                CardToken::parse(text.as_str()).map(drop).map_err(|error| error.to_string()),
                Email::parse(&text).map(drop).map_err(|error| error.to_string()),
                Email::parse(&mail).map(drop).map_err(|error| error.to_string()),
                Phone::parse(&text).map(drop).map_err(|error| error.to_string()),
                LastFour::parse(text.as_str()).map(drop).map_err(|error| error.to_string()),
                Expiry::parse(&text).map(drop).map_err(|error| error.to_string()),
            ];
            for refusal in refusals {
                let error = refusal.expect_err(&text);
                assert!(!error.contains(number) && !error.contains(&text), "{error}");
                assert!(!error.chars().any(|c| c.is_ascii_digit()) || !looks_like_a_card_number(&error), "{error}");
            }
        }
    }
}

#[test]
fn a_card_number_anywhere_in_an_account_is_refused_without_being_repeated() {
    for pointer in [
        "/name",
        "/addresses/0/street",
        "/addresses/0/postalCode",
        "/addresses/0/city",
        "/addresses/0/country",
        "/contact/email",
        "/contact/phone",
        "/card/token",
        "/card/brand",
        "/card/lastFour",
        "/card/expiry",
    ] {
        let mut account = details();
        *account.pointer_mut(pointer).unwrap() = json!("4111 1111 1111 1111");
        let error = serde_json::from_value::<AccountDetails>(account).expect_err(pointer).to_string();
        assert!(!error.contains("4111"), "{pointer}: {error}");
    }
}

#[test]
fn a_token_is_what_a_provider_issues() {
    for good in ["tok_1N3T00LkdIwHu7ix", "pm-4.2", "a", &"t".repeat(100), "8e03978e-40d5-43e8-bc93-689457593240"] {
        assert_eq!(CardToken::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", " ", "tok 1", "tok/1", "töken", "tok\n", &"t".repeat(101)] {
        assert!(CardToken::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_line_is_one_line_of_text() {
    assert_eq!(Line::parse("  Straße 1  ").unwrap().as_str(), "Straße 1");
    assert!(Line::parse("ä".repeat(MAX_LINE)).is_ok());
    for bad in ["", "   ", "two\nlines", "a\tb", "a\u{0}b", &"ä".repeat(MAX_LINE + 1)] {
        assert!(Line::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_expiry_is_a_month_and_valid_to_its_end() {
    let expiry = Expiry::parse("2030-12").unwrap();
    assert_eq!(expiry.to_string(), "2030-12");
    assert!(expiry.is_good_in(2030, 12) && expiry.is_good_in(2029, 12) && expiry.is_good_in(2030, 1));
    assert!(!expiry.is_good_in(2031, 1));
    for bad in ["", "2030", "2030-13", "2030-00", "30-12", "12/30", "2030-1", "2030-012", "+203-12", "2030-12-01"] {
        assert!(Expiry::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_last_four_are_four_digits() {
    assert!(LastFour::parse("0007").is_ok());
    for bad in ["", "123", "12345", "12 4", "x234", "１２３４"] {
        assert!(LastFour::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_phone_number_has_3_to_15_digits_and_may_be_written_as_people_do() {
    for good in ["112", "030 123456", "(030) 12 34-56", "+49 (0)30/123456", "+49.30.123456", "+123456789012345"] {
        assert!(Phone::parse(good).is_ok(), "{good:?}");
    }
    for bad in ["", "+", "12", "++49 30 1", "+49 30 12a", "1234567890123456", "49+30123", "030\n123"] {
        assert!(Phone::parse(bad).is_err(), "{bad:?}");
    }
    // 15 digits with the check digit of a card: valid only with the plus of an international number.
    assert!(Phone::parse("+378282246310005").is_ok());
    assert!(Phone::parse("378282246310005").is_err());
}

#[test]
fn an_email_address_has_a_name_and_a_domain() {
    for good in ["a@example.org", "first.last+tag@sub.example.org", "o'neill@example.org", " a@b.c "] {
        assert!(Email::parse(good).is_ok(), "{good:?}");
    }
    for bad in [
        "",
        "a",
        "@",
        "a@",
        "@b.c",
        "a@b",
        "a@b..c",
        "a b@c.d",
        "a@b c.d",
        "a@b.c, d@e.f",
        "a@b@c.d",
        "<a@b.c>",
        "a@b.c\nBcc: d@e.f",
        "ä@b.c",
    ] {
        assert!(Email::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_account_is_serialised_as_plain_json_on_the_subject_of_its_customer() {
    let create = json!({"customerId": "CUSTOMER_001", "details": details()});
    let command = AccountCommand::decode("account.create.v1", create.to_string().as_bytes()).unwrap();
    assert_eq!(command.subject(), "account.command.create.CUSTOMER_001");
    assert_eq!(serde_json::to_value(&command).unwrap(), create);

    let changed = json!({"customerId": "CUSTOMER_001", "version": 1, "details": details()});
    let event = AccountEvent::decode("account.changed.v1", changed.to_string().as_bytes()).unwrap();
    assert_eq!(event.subject(), "account.event.changed.CUSTOMER_001");
    assert_eq!(serde_json::to_value(&event).unwrap(), changed);

    let refusal = AccountRefusal::VersionConflict { version: 3 };
    assert_eq!(serde_json::to_value(refusal).unwrap(), json!({"code": "version-conflict", "version": 3}));
}

#[test]
fn a_view_shows_the_details_and_the_version() {
    let mut shown = details();
    shown["customerId"] = json!("CUSTOMER_001");
    shown["version"] = json!(7);
    let view: AccountView = serde_json::from_value(shown.clone()).unwrap();
    assert_eq!(view.version, 7);
    assert_eq!(serde_json::to_value(view).unwrap(), shown);
}

#[test]
fn card_and_phone_may_be_absent() {
    let mut bare = details();
    bare.as_object_mut().unwrap().remove("card").unwrap();
    bare["contact"].as_object_mut().unwrap().remove("phone").unwrap();
    let read: AccountDetails = serde_json::from_value(bare.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), bare);
}
