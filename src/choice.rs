//! Values chosen by name: enums whose names and descriptions are data.

/// A value chosen by name in a configuration, in a file or on the command line.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every value, in the order in which help lists them.
    const ALL: &'static [Self];

    /// The name in configurations and on the command line.
    fn name(self) -> &'static str;

    /// A description of one line, without a full stop.
    fn help(self) -> &'static str;

    /// The value of a name.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.name() == name)
    }
}

/// Declares an enum with a name and a line of documentation for each variant: the names are those that serde reads and
/// writes, and [`Choice`] lists both.
macro_rules! choices {
    (
        $(#[doc = $about:literal])+
        pub enum $Enum:ident $(= $default:ident)? {
            $( $(#[doc = $help:literal])+ $Variant:ident = $name:literal, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
        pub enum $Enum {
            $( $(#[doc = $help])+ #[serde(rename = $name)] $Variant, )+
        }

        impl $crate::choice::Choice for $Enum {
            const ALL: &'static [Self] = &[$( $Enum::$Variant, )+];

            fn name(self) -> &'static str {
                match self {
                    $( $Enum::$Variant => $name, )+
                }
            }

            fn help(self) -> &'static str {
                let help = match self {
                    $( $Enum::$Variant => concat!($( $help ),+), )+
                };
                help.trim().trim_end_matches('.')
            }
        }

        impl std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::choice::Choice::name(*self))
            }
        }

        $(
            impl Default for $Enum {
                fn default() -> Self {
                    $Enum::$default
                }
            }
        )?
    };
}
pub(crate) use choices;

#[cfg(test)]
mod tests {
    use super::Choice;
    use crate::config::Method;

    #[test]
    fn a_name_is_the_one_that_serde_writes() {
        for method in Method::ALL {
            let written = serde_json::to_value(method).unwrap();
            assert_eq!(written, method.name());
            assert_eq!(serde_json::from_value::<Method>(written).unwrap(), *method);
            assert_eq!(Method::named(method.name()), Some(*method));
        }
        assert_eq!(Method::named("dpmpp_2m"), Some(Method::Dpmpp2m));
        assert_eq!(Method::Heun.help(), "Heun's method on the probability flow in EDM's coordinates");
    }
}
