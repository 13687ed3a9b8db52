//! The attributes of `trapjaw-sdk`: they export a plain function as a plugin.

mod signature;

use proc_macro::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ItemFn, parse_macro_input};

use signature::Signature;

/// Makes the function the condition of this plugin.
///
/// It takes `&Event`, a config (any `Deserialize` type, by value or by reference) and `&Context`: each at most once, in any order.
/// It returns `bool`, `Verdict`, or a `Result` of one of them with `Failure`.
#[proc_macro_attribute]
pub fn condition(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    expand(
        attributes,
        &function,
        &World {
            module: quote!(condition_world),
            interface: quote!(condition),
            export: quote!(export_condition),
            method: quote!(evaluate),
            returned: quote!(::trapjaw_sdk::Verdict),
            convert: quote!(judge),
        },
    )
}

/// Makes the function the action of this plugin.
///
/// It takes `&Event`, a config (any `Deserialize` type, by value or by reference) and `&Context`: each at most once, in any order.
/// It returns `()`, `Outcome`, a JSON `Value`, or a `Result` of one of them with `Failure`.
#[proc_macro_attribute]
pub fn action(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    expand(
        attributes,
        &function,
        &World {
            module: quote!(action_world),
            interface: quote!(action),
            export: quote!(export_action),
            method: quote!(perform),
            returned: quote!(::trapjaw_sdk::Outcome),
            convert: quote!(act),
        },
    )
}

/// What differs between the attributes.
struct World {
    module: proc_macro2::TokenStream,
    interface: proc_macro2::TokenStream,
    export: proc_macro2::TokenStream,
    method: proc_macro2::TokenStream,
    returned: proc_macro2::TokenStream,
    convert: proc_macro2::TokenStream,
}

fn expand(attributes: TokenStream, function: &ItemFn, world: &World) -> TokenStream {
    let attributes = proc_macro2::TokenStream::from(attributes);
    let checked = match attributes.is_empty() {
        true => Signature::of(&function.sig),
        false => Err(syn::Error::new_spanned(&attributes, "this attribute takes no arguments")),
    };
    let signature = match checked {
        Ok(signature) => signature,
        Err(err) => {
            let err = err.into_compile_error();
            return quote!(#function #err).into();
        }
    };
    let name = &function.sig.ident;
    let arguments = signature.arguments();
    // What is wrong with a type is shown where the author wrote it.
    let config = signature.config_type.map(|config_type| {
        let read = quote_spanned!(config_type.span()=> ::trapjaw_sdk::__private::read_config::<#config_type>(&config));
        quote!(let config = #read?;)
    });
    let call = quote_spanned!(function.sig.output.span()=> #name(#(#arguments),*));
    let World { module, interface, export, method, returned, convert } = world;
    quote! {
        #function

        #[allow(unsafe_code, unused_qualifications, reason = "the exports of a component are unmangled symbols")]
        const _: () = {
            struct Plugin;

            impl ::trapjaw_sdk::__private::#module::exports::trapjaw::plugin::#interface::Guest for Plugin {
                #[allow(unused_variables, reason = "a plugin takes what it needs")]
                fn #method(
                    event: ::trapjaw_sdk::Event,
                    config: ::std::string::String,
                    context: ::trapjaw_sdk::Context,
                ) -> ::core::result::Result<#returned, ::trapjaw_sdk::Failure> {
                    #config
                    ::trapjaw_sdk::__private::#convert(#call)
                }
            }

            ::trapjaw_sdk::__private::#module::#export!(
                Plugin with_types_in ::trapjaw_sdk::__private::#module
            );
        };
    }
    .into()
}
