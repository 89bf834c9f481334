//! The format, byte by byte, and bad input.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::thread;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

/// Enough for any value here.
const LIMIT: usize = 1 << 20;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Shape {
    Unit,
    Newtype(u64),
    Tuple(u8, bool),
    Struct { by: i16, name: String },
    Maybe(Option<u8>),
    List(Vec<u8>),
    Raw(#[serde(with = "serde_bytes")] Vec<u8>),
    Map(BTreeMap<String, u32>),
    Nothing(()),
    Float(f32, f64),
    Wide(u128, i128),
    Letter(char),
}

/// Bytes as digits, as in RFC 8949.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("digits");
    digits.chunks(2).map(byte).collect()
}

/// The value has these bytes, and these bytes are the value.
fn is<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: T, expected: &str) {
    let encoded = encode(&value, LIMIT).expect("it can be encoded");
    assert_eq!(hex(&encoded), expected.replace(' ', ""), "{value:?}");
    assert_eq!(decode::<T>(&encoded), Ok(value));
}

fn refusal<T: DeserializeOwned + Debug>(body: &str) -> String {
    decode::<T>(&bytes(body)).expect_err("it is refused")
}

#[test]
fn a_value_has_these_bytes() {
    is(Shape::Unit, "64 556e6974");
    is(Shape::Newtype(24), "a1 67 4e657774797065 1818");
    is(Shape::Tuple(1, true), "a1 65 5475706c65 82 01 f5");
    is(Shape::Struct { by: -2, name: "n".into() }, "a1 66 537472756374 a2 62 6279 21 64 6e616d65 61 6e");
    is(Shape::Maybe(None), "a1 65 4d61796265 f6");
    is(Shape::Maybe(Some(0)), "a1 65 4d61796265 00");
    is(Shape::List(vec![1, 255]), "a1 64 4c697374 82 01 18ff");
    is(Shape::Raw(vec![1, 255]), "a1 63 526177 42 01ff");
    is(Shape::Map([("b".into(), 1), ("a".into(), 65_536)].into()), "a1 63 4d6170 a2 6161 1a00010000 6162 01");
    is(Shape::Nothing(()), "a1 67 4e6f7468696e67 80");
    is(Shape::Float(1.5, -0.5), "a1 65 466c6f6174 82 fa3fc00000 fbbfe0000000000000");
    is(Shape::Wide(u128::MAX, -1), "a1 64 57696465 82 c250ffffffffffffffffffffffffffffffff 20");
    is(Shape::Letter('ß'), "a1 66 4c6574746572 62 c39f");
}

#[test]
fn a_some_of_nothing_is_told_from_none() {
    is::<Option<()>>(Some(()), "80");
    is::<Option<()>>(None, "f6");
}

#[test]
fn a_field_that_came_later_may_be_missing_and_one_that_is_not_known_is_skipped() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Newer {
        by: u8,
        #[serde(default)]
        twice: bool,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Older {
        by: u8,
    }
    // {"by": 1} and {"why": [{"a": 1.5}, 1(h'00')], "by": 1}
    assert_eq!(decode(&bytes("a1 626279 01")), Ok(Newer { by: 1, twice: false }));
    assert_eq!(decode(&bytes("a2 63776879 82 a1 6161 fb3ff8000000000000 c14100 626279 01")), Ok(Older { by: 1 }));
}

#[test]
fn what_is_wrong_with_a_body_is_said_in_words() {
    let unknown = "unknown variant `New`, expected one of `Unit`, `Newtype`";
    assert!(refusal::<Shape>("63 4e6577").starts_with(unknown));
    assert_eq!(refusal::<u8>("61 61"), "u8 cannot be a text");
    assert_eq!(refusal::<u8>("19 0100"), "u8 cannot be an unsigned number of this size");
    assert_eq!(refusal::<i8>("18 80"), "the number does not fit +i8");
    assert_eq!(refusal::<u64>("1b 00"), "it ends where u64 should be");
    assert_eq!(refusal::<u64>(""), "it ends where u64 should be");
    assert_eq!(refusal::<String>("61 ff"), "str is not UTF-8");
    assert_eq!(refusal::<(u8, u8)>("81 00"), "tuple has a wrong length");
    assert_eq!(refusal::<f64>("fa 3fc00000"), "f64 cannot be a float of this size");
    assert!(refusal::<u8>("00 00 00").starts_with("2 bytes follow the value"));
    // A unit variant that has got a field in a newer program.
    assert!(refusal::<Shape>("a1 64 556e6974 00").starts_with("1 bytes follow the value"));
}

#[test]
fn a_value_of_just_the_limit_is_encoded_and_a_larger_one_is_measured() {
    assert_eq!(encode(&"abc", 4).map(|body| hex(&body)), Ok("63616263".into()));
    assert_eq!(encode(&"abc", 3), Err(NotEncoded::TooLarge { limit: 3, size: 4 }));
    assert_eq!(encode(&["abc"; 20], 3), Err(NotEncoded::TooLarge { limit: 3, size: 81 }));
}

#[test]
fn a_value_that_refuses_to_be_encoded_says_why() {
    let key: std::sync::Mutex<u8> = std::sync::Mutex::new(0);
    let _poisoned = thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _held = key.lock();
            panic!("while it is held");
        });
        holder.join()
    });
    assert!(matches!(encode(&key, LIMIT), Err(NotEncoded::Refused(text)) if text.contains("poison")));
}

/// As deep as one likes: `{"0": {"0": ..}}` without the names, in three ways.
#[derive(Debug, Deserialize, Serialize)]
struct Lists(Vec<Lists>);

#[derive(Debug, Deserialize, Serialize)]
enum Variants {
    End,
    More(Box<Variants>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is decoded and dropped")]
enum Untagged {
    Number(u8),
    More(Vec<Untagged>),
}

/// It takes no byte to go one deeper.
#[derive(Debug, Deserialize)]
struct Options(#[expect(dead_code, reason = "it is decoded and dropped")] Option<Box<Options>>);

#[test]
fn a_body_is_nested_128_levels_deep_at_most() {
    let lists = |levels: usize| [vec![0x81; levels - 1], vec![0x80]].concat();
    assert!(decode::<Lists>(&lists(LEVELS_MAX)).is_ok());
    let deeper = Err("it is nested deeper than 128 levels".to_owned());
    assert_eq!(decode::<Lists>(&lists(LEVELS_MAX + 1)).map(|_| ()), deeper);
    let mut variant = Variants::End;
    for _ in 1..LEVELS_MAX {
        variant = Variants::More(Box::new(variant));
    }
    assert!(decode::<Variants>(&encode(&variant, LIMIT).expect("it can")).is_ok());
    variant = Variants::More(Box::new(variant));
    assert_eq!(decode::<Variants>(&encode(&variant, LIMIT).expect("it can")).map(|_| ()), deeper);
}

#[test]
fn a_body_of_300_000_levels_is_an_error_whatever_is_decoded() {
    // Arrays, maps, variants, tags, indefinite arrays, each in each; on a stack as small as a thread's may be.
    let levels: [&[u8]; 6] = [&[0x81], &[0xa1, 0x00], &[0xa1, 0x64, b'M', b'o', b'r', b'e'], &[0xc1], &[0x9f], &[0xa1, 0x60]];
    let test = move || {
        for level in levels {
            let body = level.repeat(300_000);
            assert!(decode::<Lists>(&body).is_err());
            assert!(decode::<Variants>(&body).is_err());
            assert!(decode::<Untagged>(&body).is_err());
            assert!(decode::<Options>(&body).is_err());
            assert!(decode::<serde::de::IgnoredAny>(&body).is_err());
            assert!(decode::<serde_json::Value>(&body).is_err());
        }
        assert!(decode::<Options>(&[0x00]).is_err());
    };
    thread::Builder::new().stack_size(2 << 20).spawn(test).expect("a thread").join().expect("no overflow");
}

#[test]
fn lengths_that_are_lies_are_errors_without_the_memory_for_them() {
    for body in ["9b ffffffffffffffff", "5b ffffffffffffffff", "7b 7fffffffffffffff", "bb ffffffffffffffff", "9a ffffffff 00"] {
        assert!(decode::<Vec<u64>>(&bytes(body)).is_err(), "{body}");
        assert!(decode::<String>(&bytes(body)).is_err(), "{body}");
        assert!(decode::<BTreeMap<u8, u8>>(&bytes(body)).is_err(), "{body}");
        assert!(decode::<serde::de::IgnoredAny>(&bytes(body)).is_err(), "{body}");
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Unit),
        any::<u64>().prop_map(Shape::Newtype),
        any::<(u8, bool)>().prop_map(|(a, b)| Shape::Tuple(a, b)),
        any::<(i16, String)>().prop_map(|(by, name)| Shape::Struct { by, name }),
        any::<Option<u8>>().prop_map(Shape::Maybe),
        any::<Vec<u8>>().prop_map(Shape::List),
        any::<Vec<u8>>().prop_map(Shape::Raw),
        any::<BTreeMap<String, u32>>().prop_map(Shape::Map),
        any::<(u128, i128)>().prop_map(|(a, b)| Shape::Wide(a, b)),
        any::<char>().prop_map(Shape::Letter),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_and_no_part_of_it_is(shape in shape(), cut in any::<prop::sample::Index>()) {
        let body = encode(&shape, LIMIT).expect("it can be encoded");
        prop_assert_eq!(decode::<Shape>(&body), Ok(shape));
        prop_assert!(decode::<Shape>(&body[..cut.index(body.len())]).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(body in any::<Vec<u8>>()) {
        let _any = decode::<Shape>(&body);
        let _any = decode::<Untagged>(&body);
        let _any = decode::<serde_json::Value>(&body);
    }
}
