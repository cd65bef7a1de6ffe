//! Ids and other texts of messages, checked when they are read.

use choreography::text;
use time::macros::format_description;
use time::{Date, Time};

choreography::texts! {
    /// The id of a restaurant.
    RestaurantId: text::id;
    /// The id of a table in its restaurant.
    TableId: text::id;
    /// The id of a guest.
    GuestId: text::id;
    /// The id of a reservation on its day, chosen by the client.
    ReservationId: text::id;
    /// The beginning of a sitting, such as `19:00`.
    Sitting: sitting;
    /// A date, such as `2026-12-24`. Dates sort as texts.
    DateText: date;
    /// The id of a restaurant's day: `<restaurant>_<date>`.
    DayId: day;
}

fn sitting(text: &str) -> Result<(), &'static str> {
    let time = Time::parse(text, format_description!("[hour]:[minute]"));
    time.map(drop).map_err(|_| "must be a time from 00:00 to 23:59, such as 19:00")
}

fn date(text: &str) -> Result<(), &'static str> {
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    date.filter(|date| date.to_string() == text).map(drop).ok_or("must be a date, such as 2026-12-24")
}

fn day(text: &str) -> Result<(), &'static str> {
    let (restaurant, of) = text.rsplit_once('_').unwrap_or_default();
    let valid = text::id(text).and_then(|()| text::id(restaurant)).and_then(|()| date(of));
    valid.map_err(
        |_| "must be the id of a restaurant and a date, such as OLIVE_2026-12-24, of at most 64 characters",
    )
}

impl DayId {
    /// Returns the restaurant and the date.
    pub fn parts(&self) -> (&str, &str) {
        self.as_ref().rsplit_once('_').unwrap_or_default()
    }
}
