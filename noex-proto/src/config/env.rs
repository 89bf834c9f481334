//! A configuration out of environment variables, which the driver reads.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, de, forward_to_deserialize_any};
use zeroize::Zeroizing;

use crate::id::node_id::excerpt;
use crate::{Cause, ClusterConfig, InvalidClusterConfigError, Limits, Secret};

const PRIMARY: &str = "CLUSTER_SECRET";
const ACCEPTED: &str = "ACCEPTED_SECRETS";
const LIMITS: &str = "LIMITS_";

impl ClusterConfig {
    /// The configuration that these variables hold, of which only those whose names begin with `prefix` count.
    ///
    /// After the prefix, a name is that of a field as serde writes it, in capitals: `NOEX_NODE_NAME`, which is required,
    /// `NOEX_HEARTBEAT_INTERVAL_MS`; a limit's is `LIMITS_` and its own: `NOEX_LIMITS_MEMBERS`. Lists are split at commas. An empty variable
    /// is as one that is not set, except that of the secret or of its file: the secret is then too short.
    ///
    /// `NOEX_CLUSTER_SECRET_FILE` and `NOEX_ACCEPTED_SECRETS_FILE` name files, which `read_file` reads: of the secret, without one line
    /// break at the end; of accepted secrets, one a line.
    ///
    /// # Errors
    /// [`FromEnvError`] names the variable and the rule that it breaks, and quotes it unless it is a secret. What holds between fields is
    /// checked too, as by [`check`](Self::check).
    pub fn from_variables<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        prefix: &str,
        variables: impl IntoIterator<Item = (N, V)>,
        read_file: impl FnMut(&str) -> Result<Vec<u8>, Cause>,
    ) -> Result<Self, FromEnvError> {
        let mut fields = Fields { prefix, read_file, limits: Vec::new(), others: Vec::new(), primary: None, accepted: None };
        let mut set = Vec::new();
        for (name, value) in variables {
            if let Some(field) = name.as_ref().strip_prefix(prefix.as_bytes()) {
                let field = String::from_utf8_lossy(field).into_owned();
                fields.take(&field, value.as_ref())?;
                set.push(field);
            }
        }
        fields.config()?.checked(prefix, &set)
    }

    /// The configuration, if a node can start with it; else which of the variables that are `set` is at fault.
    fn checked(self, prefix: &str, set: &[String]) -> Result<Self, FromEnvError> {
        let Err(error) = self.check() else { return Ok(self) };
        let field = error.field().replace('.', "_").to_uppercase();
        let mut forms = ["", "_MS", "_FILE"].iter().map(|end| alloc::format!("{field}{end}"));
        let variable = forms.find(|form| set.contains(form)).unwrap_or(field);
        Err(FromEnvError::Invalid { error, variable: alloc::format!("{prefix}{variable}") })
    }
}

/// Why environment variables hold no configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FromEnvError {
    /// A secret is set, and a file that it is to be read from.
    Both {
        /// The variable of the secret itself.
        variable: String,
    },
    /// The value, or what others are, breaks a rule of the configuration.
    Invalid {
        /// The field and the rule.
        error: InvalidClusterConfigError,
        /// The variable of the field.
        variable: String,
    },
    /// The value is not of the kind that its field has.
    Malformed {
        /// What it has to be.
        rule: String,
        /// The beginning of what it is.
        text: String,
        /// The variable.
        variable: String,
    },
    /// A variable that is required is not set, or is empty.
    Missing {
        /// The variable.
        variable: String,
    },
    /// The value is not UTF-8.
    NotText {
        /// The variable.
        variable: String,
    },
    /// There is no such field.
    Unknown {
        /// The variable.
        variable: String,
    },
    /// The file that is named cannot be read.
    Unreadable {
        /// What the operating system said.
        cause: Cause,
        /// The file.
        path: String,
        /// The variable that names it.
        variable: String,
    },
}

impl fmt::Display for FromEnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both { variable } => write!(f, "{variable} and {variable}_FILE are both set"),
            Self::Invalid { error, variable } => write!(f, "{variable}: {}", error.reason()),
            Self::Malformed { rule, text, variable } => write!(f, "{variable} {rule}, not {text:?}"),
            Self::Missing { variable } => write!(f, "{variable} must be set"),
            Self::NotText { variable } => write!(f, "{variable} is not UTF-8"),
            Self::Unknown { variable } => write!(f, "{variable} is no variable of the configuration"),
            Self::Unreadable { cause, path, variable } => write!(f, "{variable}: cannot read {path:?}: {cause}"),
        }
    }
}

impl Error for FromEnvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid { error, .. } => Some(error),
            Self::Unreadable { cause, .. } => Some(cause.get_ref()),
            Self::Both { .. } | Self::Malformed { .. } | Self::Missing { .. } | Self::NotText { .. } | Self::Unknown { .. } => {
                None
            }
        }
    }
}

/// What serde finds; the variable is still the field then.
impl de::Error for FromEnvError {
    fn custom<T: fmt::Display>(rule: T) -> Self {
        Self::Malformed { rule: rule.to_string(), text: String::new(), variable: String::new() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing { variable: field.to_uppercase() }
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::Unknown { variable: field.to_uppercase() }
    }
}

/// What has been found of a configuration.
struct Fields<'a, F> {
    prefix: &'a str,
    read_file: F,
    limits: Vec<(String, Value)>,
    others: Vec<(String, Value)>,
    primary: Option<Secret>,
    accepted: Option<Vec<Secret>>,
}

impl<F: FnMut(&str) -> Result<Vec<u8>, Cause>> Fields<'_, F> {
    /// One variable, without the prefix of its name.
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), FromEnvError> {
        let variable = alloc::format!("{}{name}", self.prefix);
        match name.strip_suffix("_FILE").unwrap_or(name) {
            PRIMARY => {
                let Some(mut secret) = self.secret(name, variable, value)? else { return Ok(()) };
                if name != PRIMARY {
                    secret.pop_if(|last| *last == b'\n');
                    secret.pop_if(|last| *last == b'\r');
                }
                let twice = self.primary.replace(core::mem::take(&mut *secret).into()).is_some();
                return self.once(twice, PRIMARY);
            }
            ACCEPTED => {
                let Some(secrets) = self.secret(name, variable, value)? else { return Ok(()) };
                let between = if name == ACCEPTED { b',' } else { b'\n' };
                let secrets = secrets.split(|byte| *byte == between).map(<[u8]>::trim_ascii);
                let secrets = secrets.filter(|secret| !secret.is_empty()).map(Secret::from).collect();
                let twice = self.accepted.replace(secrets).is_some();
                return self.once(twice, ACCEPTED);
            }
            _ => {}
        }
        let Ok(text) = core::str::from_utf8(value) else { return Err(FromEnvError::NotText { variable }) };
        let limit = name.strip_prefix(LIMITS);
        let field = limit.unwrap_or(name).to_lowercase();
        let value = || Value::Text { text: text.into(), variable: variable.clone() };
        let single = MapDeserializer::new(core::iter::once((field.clone(), value())));
        // Asked of each by itself, so that an empty one is not passed over.
        let error = match limit {
            Some(_) => Limits::deserialize(single).err(),
            None => ClusterConfig::deserialize(single).err(),
        };
        let unknown = matches!(error, Some(FromEnvError::Unknown { .. })) || limit.is_none() && field == "limits";
        if unknown || name.contains(char::is_lowercase) {
            return Err(FromEnvError::Unknown { variable });
        }
        if !text.is_empty() {
            let value = value();
            if limit.is_some() { &mut self.limits } else { &mut self.others }.push((field, value));
        }
        Ok(())
    }

    /// What a secret's variable holds, or the file that it names.
    fn secret(&mut self, name: &str, variable: String, value: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, FromEnvError> {
        if !name.ends_with("_FILE") {
            return Ok(Some(value.to_vec().into()));
        }
        match core::str::from_utf8(value) {
            // As an empty secret is one that is too short: whoever set the variable means to have one.
            Ok("") if name.starts_with(PRIMARY) => Ok(Some(Zeroizing::default())),
            Ok("") => Ok(None),
            Ok(path) => match (self.read_file)(path) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(cause) => Err(FromEnvError::Unreadable { cause, path: path.into(), variable }),
            },
            Err(_) => Err(FromEnvError::NotText { variable }),
        }
    }

    fn once(&self, twice: bool, name: &str) -> Result<(), FromEnvError> {
        if twice { Err(FromEnvError::Both { variable: alloc::format!("{}{name}", self.prefix) }) } else { Ok(()) }
    }

    fn config(mut self) -> Result<ClusterConfig, FromEnvError> {
        self.others.push(("limits".into(), Value::Limits(self.limits)));
        let fields = MapDeserializer::new(self.others.into_iter());
        let mut config = ClusterConfig::deserialize(fields).map_err(|error| match error {
            FromEnvError::Missing { variable } => FromEnvError::Missing { variable: alloc::format!("{}{variable}", self.prefix) },
            error => error,
        })?;
        config = config.accepted_secrets(self.accepted.unwrap_or_default());
        Ok(match self.primary {
            Some(primary) => config.cluster_secret(primary),
            None => config,
        })
    }
}

/// The value of a field.
enum Value {
    /// All limits that are set.
    Limits(Vec<(String, Value)>),
    Text {
        text: String,
        variable: String,
    },
}

impl Value {
    /// A whole number.
    fn number<T: core::str::FromStr>(self, most: impl fmt::Display) -> Result<T, FromEnvError> {
        let Self::Text { text, variable } = self else { return Err(de::Error::custom("must be a number")) };
        text.trim().parse().map_err(|_| FromEnvError::Malformed {
            rule: alloc::format!("must be a whole number from 0 to {most}"),
            text: excerpt(&text),
            variable,
        })
    }
}

impl IntoDeserializer<'_, FromEnvError> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value {
    type Error = FromEnvError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromEnvError> {
        match self {
            Self::Limits(limits) => visitor.visit_map(MapDeserializer::new(limits.into_iter())),
            Self::Text { text, variable } => {
                let quoted = excerpt(&text);
                visitor.visit_string(text).map_err(|error: FromEnvError| match error {
                    FromEnvError::Malformed { rule, .. } => FromEnvError::Malformed { rule, text: quoted, variable },
                    error => error,
                })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromEnvError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromEnvError> {
        let Self::Text { text, variable } = self else { return Err(de::Error::custom("must be a list")) };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items = items.map(|item| Self::Text { text: item.into(), variable: variable.clone() });
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromEnvError> {
        visitor.visit_u16(self.number(u16::MAX)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromEnvError> {
        visitor.visit_u32(self.number(u32::MAX)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FromEnvError> {
        visitor.visit_u64(self.number(u64::MAX)?)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct map
        struct enum identifier ignored_any
    }
}
