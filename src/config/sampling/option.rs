//! The options of samplers as data: key, flag, values, and which samplers read them.

use super::Sampling;
use crate::choice::Choice;
use std::fmt;

/// An option of samplers: a key of `[sampling]`, most of them also a flag of the program.
#[derive(Clone, Copy)]
pub struct SamplingOption {
    /// The key, as `sampling.NAME`.
    pub key: &'static str,
    /// The flag without its dashes. Two options may share one: the sampler reads only one of them.
    pub flag: Option<&'static str>,
    /// A description.
    pub help: &'static str,
    /// The values that it takes.
    pub values: Values,
    pub(super) read_by: fn(&Sampling) -> bool,
    pub(super) get: fn(&Sampling) -> Option<Value>,
    pub(super) set: fn(&mut Sampling, Value),
}

impl SamplingOption {
    /// Whether the configured sampler, with its predictor and corrector, reads it.
    pub fn is_read_by(&self, sampling: &Sampling) -> bool {
        (self.read_by)(sampling)
    }

    /// Its value; none if it is unset.
    pub fn get(&self, sampling: &Sampling) -> Option<Value> {
        (self.get)(sampling)
    }

    /// Sets it to one of [`values`](Self::values); leaves it as it is for a value of another kind.
    pub fn set(&self, sampling: &mut Sampling, value: Value) {
        (self.set)(sampling, value);
    }
}

/// A value of an option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A whole number.
    Count(u64),
    /// The name of a [`Choice`].
    Name(&'static str),
    /// Yes or no.
    Switch(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number:?}"),
            Value::Count(count) => write!(f, "{count}"),
            Value::Name(name) => f.write_str(name),
            Value::Switch(on) => write!(f, "{on}"),
        }
    }
}

/// The values that an option takes.
#[derive(Clone, Copy)]
pub enum Values {
    /// Finite numbers from this one up.
    From(f64),
    /// Finite numbers above this one.
    Above(f64),
    /// Numbers from one to another.
    Between(f64, f64),
    /// Whole numbers from one to another.
    Count(u64, u64),
    /// The same; a configuration may also say 0, which means that it is unset.
    CountOrUnset(u64, u64),
    /// Names, each with a description.
    Names(fn() -> Vec<(&'static str, &'static str)>),
    /// Yes or no.
    Switch,
}

impl Values {
    /// The names of a [`Choice`].
    pub const fn names<T: Choice>() -> Values {
        Values::Names(|| T::ALL.iter().map(|choice| (choice.name(), choice.help())).collect())
    }

    /// Whether a configuration may hold a value.
    pub fn contain(&self, value: Value) -> bool {
        match (*self, value) {
            (Values::From(least), Value::Number(number)) => number >= least && number.is_finite(),
            (Values::Above(least), Value::Number(number)) => number > least && number.is_finite(),
            (Values::Between(least, most), Value::Number(number)) => (least..=most).contains(&number),
            (Values::Count(least, most), Value::Count(count)) => (least..=most).contains(&count),
            (Values::CountOrUnset(least, most), Value::Count(count)) => {
                count == 0 || (least..=most).contains(&count)
            }
            (Values::Names(names), Value::Name(name)) => names().iter().any(|(known, _)| *known == name),
            (Values::Switch, Value::Switch(_)) => true,
            _ => false,
        }
    }

    /// A value from the command line.
    pub fn parse(&self, text: &str) -> Option<Value> {
        let value = match *self {
            Values::From(_) | Values::Above(_) | Values::Between(..) => Value::Number(text.parse().ok()?),
            Values::Count(..) | Values::CountOrUnset(..) => Value::Count(text.parse().ok()?),
            Values::Names(names) => {
                Value::Name(names().into_iter().map(|(name, _)| name).find(|n| *n == text)?)
            }
            Values::Switch => Value::Switch(text.parse().ok()?),
        };
        let unset = matches!(self, Values::CountOrUnset(..)) && value == Value::Count(0);
        Some(value).filter(|value| self.contain(*value) && !unset)
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::From(least) => write!(f, "a number from {least} up"),
            Values::Above(least) => write!(f, "a number above {least}"),
            Values::Between(least, most) => write!(f, "a number from {least} to {most}"),
            Values::Count(least, most) | Values::CountOrUnset(least, most) => {
                write!(f, "a whole number from {least} to {most}")
            }
            Values::Names(names) => {
                let names: Vec<&str> = names().into_iter().map(|(name, _)| name).collect();
                f.write_str(&names.join(", "))
            }
            Values::Switch => f.write_str("true or false"),
        }
    }
}

/// A field of [`Sampling`] as a [`Value`].
pub(super) trait Field: Sized {
    fn value(&self) -> Option<Value>;
    fn from_value(value: Value) -> Option<Self>;
}

impl Field for f64 {
    fn value(&self) -> Option<Value> {
        Some(Value::Number(*self))
    }

    fn from_value(value: Value) -> Option<f64> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl Field for bool {
    fn value(&self) -> Option<Value> {
        Some(Value::Switch(*self))
    }

    fn from_value(value: Value) -> Option<bool> {
        if let Value::Switch(on) = value { Some(on) } else { None }
    }
}

impl Field for usize {
    fn value(&self) -> Option<Value> {
        Some(Value::Count(*self as u64))
    }

    fn from_value(value: Value) -> Option<usize> {
        if let Value::Count(count) = value { count.try_into().ok() } else { None }
    }
}

impl Field for u16 {
    fn value(&self) -> Option<Value> {
        Some(Value::Count((*self).into()))
    }

    fn from_value(value: Value) -> Option<u16> {
        if let Value::Count(count) = value { count.try_into().ok() } else { None }
    }
}

impl<T: Choice> Field for T {
    fn value(&self) -> Option<Value> {
        Some(Value::Name(self.name()))
    }

    fn from_value(value: Value) -> Option<T> {
        if let Value::Name(name) = value { T::named(name) } else { None }
    }
}

impl<T: Field> Field for Option<T> {
    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(Field::value)
    }

    fn from_value(value: Value) -> Option<Option<T>> {
        T::from_value(value).map(Some)
    }
}
