//! Properties of envelopes: any headers either round-trip or are rejected with a reason.

use async_nats::HeaderMap;
use choreography::envelope::{self, Attributes};
use proptest::prelude::*;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::checks::{self, Text, attributes, read, written};

const SUBJECT: &str = "order.event.placed.ORDER_001";
const HEADERS: [&str; 9] = [
    envelope::TYPE,
    envelope::SOURCE,
    envelope::SUBJECT,
    envelope::ID,
    envelope::TIME,
    envelope::CORRELATION_ID,
    envelope::CAUSATION_ID,
    envelope::AGGREGATE_VERSION,
    envelope::TRACE_PARENT,
];

/// Moments of the years 0 to 9999, to the nanosecond.
fn moment() -> impl Strategy<Value = OffsetDateTime> {
    let seconds = -62_167_219_200_i64..=253_402_300_799;
    (seconds, 0..1_000_000_000_i64).prop_map(|(seconds, nanos)| {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap() + time::Duration::nanoseconds(nanos)
    })
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

/// Values of a header: valid ones, nearly valid ones, and any text without line breaks.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("order.placed.v1".to_owned()),
        Just("/order-service".to_owned()),
        Just("ORDER_001".to_owned()),
        uuid().prop_map(|id| id.to_string()),
        "[{]?[0-9a-fA-F]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}[}]?",
        any::<i64>().prop_map(|number| number.to_string()),
        "[-+]?[0-9]{0,20}",
        "(0000|0001|2026|9999)-(01|02|12|13)-(01|29|31)T(00|23|24):(00|59):(00|59|60)(\\.[0-9]{1,12})?(Z|[-+](00|23|24):(00|59))",
        "[^\\r\\n]{0,40}",
    ]
}

proptest! {
    #[test]
    fn a_derived_id_is_deterministic_and_shares_the_time_of_its_origin(
        from in uuid(),
        name in ".{0,40}",
        other in ".{0,40}",
    ) {
        let id = envelope::derived_id(&from, &name);
        prop_assert_eq!(id, envelope::derived_id(&from, &name));
        prop_assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
        prop_assert_eq!(&id.as_bytes()[..6], &from.as_bytes()[..6]);
        let neighbour = Uuid::from_u128(from.as_u128() ^ 1);
        prop_assert_ne!(id, envelope::derived_id(&neighbour, &name));
        prop_assert_eq!(id == envelope::derived_id(&from, &other), name == other);
    }

    #[test]
    fn a_valid_envelope_round_trips(
        ids in (uuid(), uuid(), proptest::option::of(uuid())),
        key in "[A-Za-z0-9_-]{1,64}",
        time in moment(),
        aggregate_version in any::<Option<i64>>(),
        trace_parent in proptest::option::of("00-[0-9a-f]{31}1-[0-9a-f]{15}1-0[01]"),
        user in proptest::option::of("[!-~]{1,128}"),
        body in ".{0,40}",
    ) {
        let trace_parent = trace_parent.as_deref();
        let auth = user.map(|id| choreography::Auth::new(choreography::AuthType::User, Some(&id)));
        let (id, correlation_id, causation_id) = ids;
        let sent = Attributes {
            id, message_type: "order.placed.v1", source: "/order-service", key: &key, time, correlation_id,
            causation_id, aggregate_version, trace_parent, auth: auth.as_ref(),
        };
        let envelope = read(&format!("order.event.placed.{key}"), &written(&sent), body.as_bytes()).unwrap();
        prop_assert_eq!(attributes(&envelope), sent);
        prop_assert_eq!(envelope.payload, Text(body));
    }

    #[test]
    fn any_headers_round_trip_or_are_rejected_with_a_reason(
        time in moment(),
        changes in proptest::collection::vec((0..HEADERS.len(), proptest::option::of(value())), 0..3),
        subject in prop_oneof![9 => Just(SUBJECT.to_owned()), 1 => "[a-z.*> ]{0,30}"],
        body in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let sent = Attributes {
            id: Uuid::nil(), message_type: "order.placed.v1", source: "/order-service", key: "ORDER_001", time,
            correlation_id: Uuid::max(), causation_id: Some(Uuid::nil()), aggregate_version: Some(1),
            trace_parent: None, auth: None,
        };
        let mut pairs = sent.headers();
        for (header, value) in changes {
            pairs.retain(|(name, _)| name != HEADERS[header]);
            pairs.extend(value.map(|value| (HEADERS[header].into(), value)));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name.as_ref(), value);
        }
        checks::envelope(&subject, &headers, &body);
    }
}

#[test]
fn a_time_out_of_range_in_utc_is_rejected() {
    for time in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"] {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (envelope::TYPE, "order.placed.v1"),
            (envelope::SOURCE, "/order-service"),
            (envelope::SUBJECT, "ORDER_001"),
            (envelope::ID, "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            (envelope::TIME, time),
        ] {
            headers.insert(name.as_ref(), value);
        }
        let error = read(SUBJECT, &headers, b"").map(drop).unwrap_err().to_string();
        assert!(error.contains(envelope::TIME), "{error}");
    }
}
