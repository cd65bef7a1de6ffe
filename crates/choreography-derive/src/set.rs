//! `#[derive(Messages)]`.

use std::collections::HashMap;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Type, Variant};

/// Implements the traits of a closed set of messages for an enum.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let ident = &input.ident;
    let (variants, bodies) = variants(input)?;
    let same_type = format!("two messages of `{ident}` have the same type: give one another name or version");
    Ok(quote! {
        #[automatically_derived]
        impl ::choreography::Messages for #ident {
            const MESSAGES: &'static [::choreography::MessageInfo] = {
                const SETS: &[&[::choreography::MessageInfo]] = &[#(<#bodies as ::choreography::Messages>::MESSAGES),*];
                const ALL: [::choreography::MessageInfo; ::choreography::__private::count(SETS)] =
                    ::choreography::__private::concat(SETS);
                &ALL
            };

            fn decode(
                message_type: &str,
                body: &[u8],
            ) -> ::core::result::Result<Self, ::choreography::DecodeError> {
                #(if ::choreography::__private::holds::<#bodies>(message_type) {
                    return <#bodies as ::choreography::Messages>::decode(message_type, body).map(Self::#variants);
                })*
                ::core::result::Result::Err(::choreography::__private::unknown(message_type))
            }
        }

        const _: () = ::core::assert!(
            ::choreography::__private::distinct(<#ident as ::choreography::Messages>::MESSAGES),
            #same_type
        );

        #[automatically_derived]
        impl ::choreography::Publish for #ident {
            fn info(&self) -> &'static ::choreography::MessageInfo {
                match self {
                    #(Self::#variants(body) => ::choreography::Publish::info(body),)*
                }
            }

            fn key(&self) -> &str {
                match self {
                    #(Self::#variants(body) => ::choreography::Publish::key(body),)*
                }
            }
        }

        #[automatically_derived]
        impl ::choreography::__private::Serialize for #ident {
            fn serialize<S: ::choreography::__private::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                match self {
                    #(Self::#variants(body) => ::choreography::__private::Serialize::serialize(body, serializer),)*
                }
            }
        }

        #(
            #[automatically_derived]
            impl ::core::convert::From<#bodies> for #ident {
                fn from(body: #bodies) -> Self {
                    Self::#variants(body)
                }
            }
        )*
    })
}

/// Returns the variants and the types of their fields, in the same order.
fn variants(input: &DeriveInput) -> Result<(Vec<&Ident>, Vec<&Type>)> {
    let at = input.ident.span();
    if !input.generics.params.is_empty() {
        return Err(Error::new(at, "a set of messages has no generic parameters: name its messages"));
    }
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(
            at,
            "derive `Messages` on an enum with one variant per message: `Placed(OrderPlaced)`",
        ));
    };
    if data.variants.is_empty() {
        return Err(Error::new(at, "a set of messages needs a variant per message: `Placed(OrderPlaced)`"));
    }
    let mut known: HashMap<String, &Ident> = HashMap::new();
    let (mut variants, mut bodies) = (Vec::new(), Vec::new());
    for variant in &data.variants {
        let body = body(variant)?;
        let name = body.to_token_stream().to_string();
        if let Some(first) = known.insert(name.clone(), &variant.ident) {
            return Err(Error::new_spanned(
                body,
                format!("`{name}` is in this set as `{first}` already: remove one of them"),
            ));
        }
        variants.push(&variant.ident);
        bodies.push(body);
    }
    Ok((variants, bodies))
}

fn body(variant: &Variant) -> Result<&Type> {
    match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Ok(&fields.unnamed[0].ty),
        _ => Err(Error::new_spanned(
            variant,
            "a variant of a set holds exactly one message, as in `Placed(OrderPlaced)`",
        )),
    }
}
