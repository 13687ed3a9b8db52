//! Which parameters an annotated function takes, and what is wrong with it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, Result, Type};

/// A function that can be exported.
pub(crate) struct Signature<'a> {
    parameters: Vec<Parameter>,
    /// The type that the config is read into, when the function takes one.
    pub(crate) config_type: Option<&'a Type>,
}

/// What a parameter gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Parameter {
    Event,
    Context,
    ConfigValue,
    ConfigReference,
}

const TAKES: &str = "takes `&Event`, a config and `&Context`, each at most once";

impl<'a> Signature<'a> {
    /// Reads the signature; the error points at what cannot be exported.
    pub(crate) fn of(signature: &'a syn::Signature) -> Result<Self> {
        if let Some(token) = &signature.asyncness {
            return Err(Error::new_spanned(
                token,
                "a plugin's function is not async: the host waits outside the sandbox",
            ));
        }
        if !signature.generics.params.is_empty() {
            return Err(Error::new_spanned(&signature.generics, "a plugin's function has no generic parameters"));
        }
        let mut parameters = Vec::new();
        let mut config_type = None;
        for input in &signature.inputs {
            let (parameter, read_type) = parameter_of(input)?;
            let again = match read_type {
                Some(_) => config_type.is_some(),
                None => parameters.contains(&parameter),
            };
            if again {
                return Err(Error::new_spanned(input, TAKES));
            }
            config_type = config_type.or(read_type);
            parameters.push(parameter);
        }
        Ok(Self { parameters, config_type })
    }

    /// The arguments of the call, from variables `event`, `config` and `context`.
    pub(crate) fn arguments(&self) -> Vec<TokenStream> {
        let argument = |parameter: &Parameter| match parameter {
            Parameter::Event => quote!(&event),
            Parameter::Context => quote!(&context),
            Parameter::ConfigValue => quote!(config),
            Parameter::ConfigReference => quote!(&config),
        };
        self.parameters.iter().map(argument).collect()
    }
}

/// What the parameter gets, and for a config the type to read.
fn parameter_of(input: &FnArg) -> Result<(Parameter, Option<&Type>)> {
    let FnArg::Typed(typed) = input else {
        return Err(Error::new_spanned(input, TAKES));
    };
    let Type::Reference(reference) = &*typed.ty else {
        return match last_name(&typed.ty).as_deref() {
            Some("Event" | "Context") => {
                Err(Error::new_spanned(&typed.ty, "the event and the context are lent: write `&Event`, `&Context`"))
            }
            Some(_) | None => Ok((Parameter::ConfigValue, Some(&typed.ty))),
        };
    };
    if reference.mutability.is_some() {
        return Err(Error::new_spanned(reference, TAKES));
    }
    Ok(match last_name(&reference.elem).as_deref() {
        Some("Event") => (Parameter::Event, None),
        Some("Context") => (Parameter::Context, None),
        Some(_) | None => (Parameter::ConfigReference, Some(&*reference.elem)),
    })
}

/// The last segment of a path type; a macro sees names only, so a renamed import is not recognised.
fn last_name(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signature: &str, expected: &str) {
        let signature: syn::Signature = syn::parse_str(signature).expect("the case is Rust");
        let got = match Signature::of(&signature) {
            Ok(signature) => {
                let arguments: Vec<String> =
                    signature.arguments().iter().map(|tokens| tokens.to_string().replace(' ', "")).collect();
                arguments.join(",")
            }
            Err(err) => err.to_string(),
        };
        assert!(got.starts_with(expected), "{got}");
    }

    #[test]
    fn parameters_are_known_by_their_types() {
        check("fn f()", "");
        check("fn f(event: &Event)", "&event");
        check("fn f(e: &trapjaw_sdk::Event, c: Config)", "&event,config");
        check("fn f(c: &Config, x: &Context, e: &Event)", "&config,&context,&event");
        check("fn f(config: serde_json::Value)", "config");
    }

    #[test]
    fn what_cannot_be_exported_is_said() {
        check("async fn f()", "a plugin's function is not async");
        check("fn f<T>(c: T)", "a plugin's function has no generic");
        check("fn f(e: Event)", "the event and the context are lent");
        check("fn f(a: Config, b: &Other)", TAKES);
        check("fn f(a: &Event, b: &Event)", TAKES);
        check("fn f(a: &mut Event)", TAKES);
        check("fn f(&self)", TAKES);
    }
}
