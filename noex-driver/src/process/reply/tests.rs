//! Every place where a `Reply` may stand in a message, and every place where it may not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;
use std::{mem, thread};

use bytes::Bytes;
use event_listener::{Event, EventListener};
use futures_lite::future;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::super::codec::NotEncoded;
use super::super::port::{decode_call, decode_portless, encode_call, encode_portless};
use super::*;

const LIMIT: usize = 1000;

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Answered(Vec<u8>),
    Dropped,
    NotEncoded(NotEncoded),
}

/// A port that remembers.
struct Call {
    deadline: Instant,
    fates: Mutex<Vec<Fate>>,
    over: Mutex<bool>,
    /// What the next offers find, the last one first; then there is room.
    room: Mutex<Vec<Result<(), AnswerError>>>,
    wakes: Event,
}

impl Port for Call {
    fn answer(&self, body: Result<Bytes, NotEncoded>) {
        let fate = body.map_or_else(Fate::NotEncoded, |body| Fate::Answered(body.to_vec()));
        self.fates.lock().expect("no panic").push(fate);
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn drop_call(&self) {
        self.fates.lock().expect("no panic").push(Fate::Dropped);
    }

    fn limit(&self) -> usize {
        LIMIT
    }

    fn changed(&self) -> EventListener {
        self.wakes.listen()
    }

    fn is_over(&self) -> bool {
        *self.over.lock().expect("no panic")
    }

    fn offer(&self, body: &Bytes) -> Result<(), AnswerError> {
        let room = self.room.lock().expect("no panic").pop().unwrap_or(Ok(()));
        if room == Ok(()) {
            self.answer(Ok(body.clone()));
        }
        room
    }
}

impl Call {
    fn new() -> Arc<Self> {
        let deadline = Instant::now() + Duration::from_secs(5);
        Arc::new(Self { deadline, fates: Mutex::default(), over: Mutex::default(), room: Mutex::default(), wakes: Event::new() })
    }

    fn fates(&self) -> Vec<Fate> {
        self.fates.lock().expect("no panic").clone()
    }
}

/// A message is made around its port, as `call` does, and encoded; its bytes in hexadecimal digits.
fn encoded<M: Serialize, T>(message: impl FnOnce(Reply<T>) -> M) -> Result<String, NotEncoded> {
    let body = encode_call(|port| message(Reply::new(port)), LIMIT)?;
    Ok(body.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn refusal<M: Serialize, T>(message: impl FnOnce(Reply<T>) -> M) -> String {
    match encoded(message) {
        Err(NotEncoded::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The message goes from a caller to a process, which answers 7 to the reply that `reply` finds in it.
fn travels<M: Serialize + DeserializeOwned>(message: impl Fn(Reply<u64>) -> M, reply: impl Fn(M) -> Option<Reply<u64>>) {
    let body = encode_call(|port| message(Reply::new(port)), LIMIT).expect("it can be encoded");
    for answers in [true, false] {
        let call = Call::new();
        let message: M = decode_call(&body, call.clone(), None).expect("it is understood");
        assert_eq!(call.fates(), []);
        let found = reply(message).expect("it holds a reply");
        if answers {
            found.send(7);
            assert_eq!(call.fates(), [Fate::Answered(vec![7])]);
        } else {
            drop(found);
            assert_eq!(call.fates(), [Fate::Dropped]);
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
enum Plain {
    Struct { by: u64, reply: Reply<u64> },
    Newtype(Reply<u64>),
    Tuple(u8, Reply<u64>),
    Nested(Inner),
    Maybe { reply: Option<Reply<u64>> },
    Boxed(Box<Reply<u64>>),
    Listed(Vec<Reply<u64>>),
    Reset,
}

#[derive(Debug, Deserialize, Serialize)]
struct Inner {
    a: u8,
    reply: Reply<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "kind")]
enum Internal {
    Struct { by: u64, reply: Reply<u64> },
    Newtype(Inner),
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "kind", content = "with")]
enum Adjacent {
    Struct { by: u64, reply: Reply<u64> },
    Newtype(Reply<u64>),
    Tuple(u8, Reply<u64>),
}

/// Of what comes in the last variant, the first ones take the port before they find out that they are not meant.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Untagged {
    First { reply: Reply<u64>, times: u64 },
    Second(Reply<u64>, u8, u8),
    Third { reply: Reply<u64>, name: String },
    Fourth(Reply<u64>, String),
    Fifth(Reply<u64>),
}

#[derive(Deserialize, Serialize)]
struct Flattened {
    id: u8,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, Deserialize, Serialize)]
struct Unit(Reply<u64>);

#[test]
fn a_reply_may_stand_in_a_variant_of_any_kind() {
    travels(
        |reply| Plain::Struct { by: 2, reply },
        |message| match message {
            Plain::Struct { by: 2, reply } => Some(reply),
            _ => None,
        },
    );
    travels(Plain::Newtype, |message| if let Plain::Newtype(reply) = message { Some(reply) } else { None });
    travels(|reply| Plain::Tuple(3, reply), |message| if let Plain::Tuple(3, reply) = message { Some(reply) } else { None });
    travels(
        |reply| Plain::Nested(Inner { a: 1, reply }),
        |message| match message {
            Plain::Nested(Inner { a: 1, reply }) => Some(reply),
            _ => None,
        },
    );
    travels(
        |reply| Plain::Maybe { reply: Some(reply) },
        |message| match message {
            Plain::Maybe { reply } => reply,
            _ => None,
        },
    );
    travels(|reply| Plain::Boxed(Box::new(reply)), |message| if let Plain::Boxed(reply) = message { Some(*reply) } else { None });
    travels(
        |reply| Plain::Listed(vec![reply]),
        |message| if let Plain::Listed(mut reply) = message { reply.pop() } else { None },
    );
    travels(Unit, |Unit(reply)| Some(reply));
    travels(|reply| reply, Some);
}

#[test]
fn a_reply_may_stand_in_a_tagged_variant() {
    travels(
        |reply| Internal::Struct { by: 2, reply },
        |message| match message {
            Internal::Struct { by: 2, reply } => Some(reply),
            _ => None,
        },
    );
    travels(
        |reply| Internal::Newtype(Inner { a: 1, reply }),
        |message| match message {
            Internal::Newtype(Inner { a: 1, reply }) => Some(reply),
            _ => None,
        },
    );
    travels(
        |reply| Adjacent::Struct { by: 2, reply },
        |message| match message {
            Adjacent::Struct { by: 2, reply } => Some(reply),
            _ => None,
        },
    );
    travels(Adjacent::Newtype, |message| if let Adjacent::Newtype(reply) = message { Some(reply) } else { None });
    travels(
        |reply| Adjacent::Tuple(3, reply),
        |message| if let Adjacent::Tuple(3, reply) = message { Some(reply) } else { None },
    );
}

#[test]
fn a_reply_may_stand_in_a_flattened_struct() {
    let message = |reply| Flattened { id: 1, inner: Inner { a: 2, reply } };
    travels(message, |message: Flattened| (message.id == 1 && message.inner.a == 2).then_some(message.inner.reply));
}

#[test]
fn an_untagged_variant_that_is_tried_in_vain_gives_the_port_back() {
    travels(
        |reply| Untagged::First { reply, times: 2 },
        |message| match message {
            Untagged::First { reply, times: 2 } => Some(reply),
            _ => None,
        },
    );
    travels(
        |reply| Untagged::Second(reply, 1, 2),
        |message| if let Untagged::Second(reply, 1, 2) = message { Some(reply) } else { None },
    );
    travels(
        |reply| Untagged::Third { reply, name: "n".into() },
        |message| match message {
            Untagged::Third { reply, name } if name == "n" => Some(reply),
            _ => None,
        },
    );
    travels(
        |reply| Untagged::Fourth(reply, "n".into()),
        |message| if let Untagged::Fourth(reply, _) = message { Some(reply) } else { None },
    );
    travels(Untagged::Fifth, |message| if let Untagged::Fifth(reply) = message { Some(reply) } else { None });
}

#[test]
fn a_reply_is_a_zero_on_the_wire() {
    // {"Struct": {"by": 2, "reply": 0}}
    assert_eq!(encoded(|reply| Plain::Struct { by: 2, reply }).as_deref(), Ok("a166537472756374a262627902657265706c7900"));
    // {"Newtype": 0}
    assert_eq!(encoded(Plain::Newtype).as_deref(), Ok("a1674e65777479706500"));
}

/// It writes one port twice, which no derived implementation does.
struct Twice(Reply<u64>);

impl Serialize for Twice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, &self.0).serialize(serializer)
    }
}

#[test]
fn a_call_whose_message_holds_its_port_never_or_twice_is_not_encoded() {
    let none = "the message does not hold the `Reply` of its call: put it in, or use `cast`";
    assert_eq!(refusal(|_: Reply<u64>| Plain::Reset), none);
    assert_eq!(refusal(|_: Reply<u64>| Plain::Maybe { reply: None }), none);
    assert_eq!(refusal(Twice), "the message holds the `Reply` of its call more than once");
}

#[test]
fn a_call_whose_message_holds_another_port_is_not_encoded() {
    let fault = "the `Reply` belongs to another call: only the one that `call` gives may be in the message";
    let received: Arc<dyn Port> = Call::new();
    assert_eq!(refusal(|_: Reply<u64>| Plain::Newtype(Reply::new(received.clone()))), fault);
    assert_eq!(refusal(|reply| Plain::Listed(vec![reply, Reply::new(received.clone())])), fault);
}

#[test]
fn a_cast_an_answer_and_whatever_else_is_encoded_hold_no_port() {
    let message = Plain::Newtype(Reply::new(Call::new()));
    let fault = "a cast or an answer holds no `Reply`: use `call`, and give it the address to answer to";
    assert_eq!(encode_portless(&message, LIMIT), Err(NotEncoded::Refused(fault.into())));
    let error = serde_json::to_string(&message).expect_err("not in JSON");
    assert_eq!(error.to_string(), "a `Reply` is encoded only by `call`");
}

/// What a mailbox says of a body that came in a call, and what became of the call by then.
fn received<M: DeserializeOwned>(body: &[u8]) -> (Result<M, String>, Arc<Call>) {
    let call = Call::new();
    let message = decode_call(body, call.clone(), None);
    assert_eq!(call.fates(), [], "the mailbox fails it");
    (message, call)
}

#[test]
fn a_call_that_holds_no_port_or_two_is_not_understood() {
    // "Reset"
    let (none, _) = received::<Plain>(b"\x65Reset");
    assert_eq!(none.expect_err("no port"), "the message was called, and holds no `Reply`: use `cast`");
    // {"Listed": [0, 0]} and {"Maybe": {"reply": null}}
    let (two, _) = received::<Plain>(b"\xa1\x66Listed\x82\x00\x00");
    assert_eq!(two.expect_err("two"), "a message holds one `Reply`, and this one holds a second");
    let (null, _) = received::<Plain>(b"\xa1\x65Maybe\xa1\x65reply\xf6");
    assert_eq!(null.expect_err("no port"), "the message was called, and holds no `Reply`: use `cast`");
}

#[test]
fn a_port_is_a_zero_and_no_null_nor_anything_else() {
    for (body, fault) in [
        (&b"\xa1\x67Newtype\x01"[..], "invalid value: integer `1`, expected the port of a call, which is 0"),
        (b"\xa1\x67Newtype\xf6", "u8 cannot be null"),
        (b"\xa1\x67Newtype\x60", "u8 cannot be a text"),
        (b"\xa1\x67Newtype\x20", "u8 cannot be a negative number of this size"),
    ] {
        assert_eq!(received::<Plain>(body).0.expect_err("no port"), fault);
    }
}

#[test]
fn a_reply_is_not_decoded_in_a_cast_an_answer_or_elsewhere() {
    let body = b"\xa1\x67Newtype\x00";
    let fault = "only the message of a call holds a `Reply`: use `call` in place of `cast`";
    assert_eq!(decode_portless::<Plain>(body, None).expect_err("no port"), fault);
    let error = serde_json::from_str::<Plain>(r#"{"Newtype": 0}"#).expect_err("not from JSON");
    assert!(error.to_string().starts_with("a `Reply` is decoded only where a mailbox receives the message"), "{error}");
}

#[test]
fn a_message_that_fails_behind_its_port_leaves_the_call_to_the_mailbox() {
    // {"Struct": {"reply": 0, "by": "x"}}: the port was taken by then.
    let (message, call) = received::<Plain>(b"\xa1\x66Struct\xa2\x65reply\x00\x62by\x61x");
    assert_eq!(message.expect_err("by is a number"), "u64 cannot be a text");
    assert_eq!(call.fates(), []);
}

/// It decodes its field, then panics.
#[derive(Debug)]
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _reply = Inner::deserialize(deserializer)?;
        panic!("while a reply is in hand")
    }
}

#[test]
fn a_panic_while_a_message_is_decoded_leaves_nothing_behind() {
    // {"a": 1, "reply": 0}
    let body = b"\xa2\x61a\x01\x65reply\x00";
    let call = Call::new();
    let port: Arc<dyn Port> = call.clone();
    let bomb = catch_unwind(AssertUnwindSafe(|| decode_call::<Bomb>(body, port.clone(), None)));
    assert!(bomb.is_err());
    // The port is back, and the mailbox fails the call: the reply that unwound did not.
    assert_eq!(call.fates(), []);
    assert!(decode_portless::<Inner>(body, None).is_err() && serde_json::from_str::<Inner>(r#"{"a":1,"reply":0}"#).is_err());
    let (message, call) = received::<Inner>(body);
    message.expect("the next message is as any").reply.send(1);
    assert_eq!(call.fates(), [Fate::Answered(vec![1])]);
}

/// A message within a message: the inner one is decoded, and dropped, while the outer one's port is in hand.
#[derive(Debug)]
struct Outer(Reply<u64>);

/// The fates of the call within; a port of its own, since it is no message of a mailbox here.
static WITHIN: Mutex<Vec<Fate>> = Mutex::new(Vec::new());

impl<'de> Deserialize<'de> for Outer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let first = Reply::<u64>::deserialize(deserializer)?;
        let call = Call::new();
        let inner: Unit = decode_call(&[0], call.clone(), None).expect("the inner one is understood");
        // Decoding of the inner one is over, so dropping its reply ends its call; that of the outer one is not.
        drop(inner);
        WITHIN.lock().expect("no panic").extend(call.fates());
        // An answer that is decoded within has no port, and gets none of the message around it.
        assert!(decode_portless::<Unit>(&[0], None).is_err());
        drop(first);
        port::take().map(|port| Self(Reply::new(port))).map_err(D::Error::custom)
    }
}

#[test]
fn a_message_that_is_decoded_within_another_has_a_port_of_its_own() {
    let (message, call) = received::<Outer>(&[0]);
    let Outer(reply) = message.expect("it took its port again");
    assert_eq!(*WITHIN.lock().expect("no panic"), [Fate::Dropped]);
    reply.send(9);
    assert_eq!(call.fates(), [Fate::Answered(vec![9])]);
}

#[test]
fn a_reply_is_answered_from_any_thread_and_dropped_on_any() {
    let (message, call) = received::<Unit>(&[0]);
    let Unit(reply) = message.expect("it is understood");
    thread::spawn(move || reply.send(1)).join().expect("no panic");
    assert_eq!(call.fates(), [Fate::Answered(vec![1])]);
    let (message, call) = received::<Unit>(&[0]);
    thread::spawn(move || drop(message)).join().expect("no panic");
    assert_eq!(call.fates(), [Fate::Dropped]);
}

#[test]
fn an_answer_that_cannot_be_encoded_is_told_as_that_and_one_that_panics_drops_the_call() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("no answer")
        }
    }
    let call = Call::new();
    Reply::new(call.clone()).send(vec![0; LIMIT]);
    assert_eq!(call.fates(), [Fate::NotEncoded(NotEncoded::TooLarge { limit: LIMIT, size: LIMIT + 3 })]);
    let call = Call::new();
    assert!(catch_unwind(AssertUnwindSafe(|| Reply::new(call.clone()).send(Panics))).is_err());
    assert_eq!(call.fates(), [Fate::Dropped]);
}

#[test]
fn a_reply_tells_the_deadline_and_when_nobody_waits_any_more() {
    let call = Call::new();
    let reply = Reply::<u64>::new(call.clone());
    assert_eq!(reply.deadline(), call.deadline);
    let waiter = thread::spawn(move || future::block_on(reply.cancelled()));
    *call.over.lock().expect("no panic") = true;
    call.wakes.notify(usize::MAX);
    waiter.join().expect("no panic");
}

#[test]
fn a_delivery_waits_for_room_and_ends_where_nobody_waits() {
    for (room, outcome) in [
        (Ok(()), Ok(())),
        (Err(AnswerError::Over), Err(DeliverError::Over)),
        (Err(AnswerError::Dropped), Err(DeliverError::TooLarge)),
    ] {
        let call = Call::new();
        *call.room.lock().expect("no panic") = vec![room, Err(AnswerError::Full), Err(AnswerError::Full)];
        let mut delivery = Box::pin(Reply::<u64>::new(call.clone()).deliver(5));
        assert_eq!(future::block_on(future::poll_once(&mut delivery)), None);
        call.wakes.notify(usize::MAX);
        assert_eq!(future::block_on(future::poll_once(&mut delivery)), None);
        call.wakes.notify(usize::MAX);
        assert_eq!(future::block_on(delivery), outcome);
        assert_eq!(call.fates(), if outcome.is_ok() { vec![Fate::Answered(vec![5])] } else { vec![] });
    }
}

#[test]
fn a_delivery_that_is_dropped_or_cannot_be_encoded_drops_the_call() {
    let call = Call::new();
    call.room.lock().expect("no panic").push(Err(AnswerError::Full));
    let mut delivery = Box::pin(Reply::<u64>::new(call.clone()).deliver(5));
    assert_eq!(future::block_on(future::poll_once(&mut delivery)), None);
    drop(delivery);
    assert_eq!(call.fates(), [Fate::Dropped]);
    let call = Call::new();
    assert_eq!(future::block_on(Reply::new(call.clone()).deliver(vec![0; LIMIT])), Err(DeliverError::TooLarge));
    assert_eq!(call.fates(), [Fate::Dropped]);
}

#[test]
fn a_delivery_that_failed_says_why() {
    // An answer that holds a port.
    let call = Call::new();
    let answer = Reply::<u64>::new(Call::new());
    let error = future::block_on(Reply::new(call.clone()).deliver(answer)).expect_err("it cannot be encoded");
    assert_eq!(call.fates(), [Fate::Dropped]);
    let cause = "a cast or an answer holds no `Reply`: use `call`, and give it the address to answer to";
    assert_eq!(error, DeliverError::NotEncodable(cause.into()));
    assert_eq!(error.to_string(), format!("the answer cannot be encoded: {cause}"));
    assert_eq!(DeliverError::Over.to_string(), "nobody waits for the answer any more");
    assert_eq!(DeliverError::TooLarge.to_string(), "the answer is larger than a message may be");
}

#[test]
fn a_reply_is_send_whatever_the_answer_is() {
    fn is_send_and_sync<T: Send + Sync + Unpin>() {}
    is_send_and_sync::<Reply<std::rc::Rc<u8>>>();
    assert_eq!(mem::size_of::<Reply<[u8; 99]>>(), 2 * mem::size_of::<usize>());
}

/// A message with replies in any places.
fn anywhere() -> impl Strategy<Value = Vec<bool>> {
    proptest::collection::vec(any::<bool>(), 0..5)
}

proptest! {
    #[test]
    fn a_message_is_understood_exactly_if_it_holds_one_port(places in anywhere()) {
        let port: Arc<dyn Port> = Call::new();
        let value: Vec<Option<u8>> = places.iter().map(|place| place.then_some(0)).collect();
        let body = encode_portless(&value, LIMIT).expect("it can be encoded");
        let one = places.iter().filter(|place| **place).count() == 1;
        let message = decode_call::<Vec<Option<Reply<u64>>>>(&body, port.clone(), None);
        prop_assert_eq!(message.is_ok(), one);
        // What is encoded says the same.
        let message = |port| {
            let mut own = Some(Reply::new(port));
            let mut next = || own.take().unwrap_or_else(|| Reply::<u64>::new(Call::new()));
            places.iter().map(|place| place.then(&mut next)).collect::<Vec<_>>()
        };
        prop_assert_eq!(encode_call(message, LIMIT).is_ok(), one);
        // No bytes make it panic.
        let _any = decode_call::<Untagged>(&body, port.clone(), None);
    }
}
