//! `#[derive(Command)]`, `#[derive(Event)]`, and `#[derive(Timer)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Fields, Ident, Lit, Member, Meta, Path, Result};

use crate::attribute::{Arguments, Key};

/// The kind of a message, the second token of its subject.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Command,
    Event,
    Timer,
}

impl Kind {
    fn token(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Event => "event",
            Self::Timer => "timer",
        }
    }
}

/// Implements the traits of a message for a struct.
pub(crate) fn expand(input: &DeriveInput, kind: Kind) -> Result<TokenStream> {
    let ident = &input.ident;
    let fields = fields(input, kind)?;
    let Arguments { context, name, version, key, producer, upcast } = Arguments::read(&input.attrs, ident.span())?;
    check_key(input, fields, &key)?;

    let kind_token = kind.token();
    let message_type = format!("{context}.{name}.v{version}");
    let filter = format!("{context}.{kind_token}.{name}.*");
    let description = description(&input.attrs);
    let kind = format_ident!("{kind:?}");
    let (previous, check_previous) = upcast.map(|older| upcasting(ident, &older)).unzip();
    let key = quote_spanned! { key.span() => ::core::convert::AsRef::<str>::as_ref(&self.#key) };
    Ok(quote! {
        #[automatically_derived]
        impl ::choreography::Message for #ident {
            const CONTEXT: &'static str = #context;
            const KIND: ::choreography::Kind = ::choreography::Kind::#kind;
            const NAME: &'static str = #name;
            const VERSION: u32 = #version;
            const TYPE: &'static str = #message_type;
            const FILTER: &'static str = #filter;
            const PRODUCER: &'static str = #producer;
            const DESCRIPTION: &'static str = #description;
            ::choreography::__private::schema!(#ident);
            #previous
        }

        #check_previous

        #[automatically_derived]
        impl ::choreography::Publish for #ident {
            fn info(&self) -> &'static ::choreography::MessageInfo {
                const { &<Self as ::choreography::Message>::INFO }
            }

            fn key(&self) -> &str {
                #key
            }
        }

        #[automatically_derived]
        impl ::choreography::#kind for #ident {}
    })
}

/// Returns the items of a message that is made of an older version, and the check that it is one.
fn upcasting(ident: &Ident, older: &Path) -> (TokenStream, TokenStream) {
    let not_older = format!(
        "`upcast` of `{ident}` must be an older version of the same message: with its context, kind, and name, and a lower version"
    );
    let items = quote_spanned! { older.span() =>
        const PREVIOUS: ::core::option::Option<&'static ::choreography::MessageInfo> =
            ::core::option::Option::Some(&<#older as ::choreography::Message>::INFO);

        fn upcast(
            message_type: &str,
            body: &[u8],
        ) -> ::core::result::Result<Self, ::choreography::DecodeError> {
            <#older as ::choreography::Messages>::decode(message_type, body)
                .map(<Self as ::core::convert::From<#older>>::from)
        }
    };
    let check = quote_spanned! { older.span() =>
        const _: () = ::core::assert!(
            ::choreography::__private::precedes(
                &<#older as ::choreography::Message>::INFO,
                &<#ident as ::choreography::Message>::INFO,
            ),
            #not_older
        );
    };
    (items, check)
}

fn fields(input: &DeriveInput, kind: Kind) -> Result<&Fields> {
    let at = input.ident.span();
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            at,
            "a message has no generic parameters: each body needs a name and version of its own",
        ));
    }
    match &input.data {
        Data::Struct(data) if data.fields.is_empty() => {
            Err(Error::new(at, "a message needs a field that holds the business id it is about"))
        }
        Data::Struct(data) => Ok(&data.fields),
        Data::Enum(_) | Data::Union(_) => {
            Err(Error::new(at, format!("derive `{kind:?}` on structs, and `Messages` on the enum that holds them")))
        }
    }
}

/// Checks that the message has the field that holds its key. The compiler checks the rest of the path.
fn check_key(input: &DeriveInput, fields: &Fields, key: &Key) -> Result<()> {
    let Some(first) = key.first() else { return Ok(()) };
    let members: Vec<Member> = fields.members().collect();
    if members.contains(first) {
        return Ok(());
    }
    let names: Vec<String> = members.iter().map(|member| format!("`{}`", quote!(#member))).collect();
    let text = format!("`{}` has no field `{}`; it has {}", input.ident, quote!(#first), names.join(", "));
    Err(Error::new_spanned(first, text))
}

/// Returns the first paragraph of a doc comment, as one line without the marks of links.
fn description(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ").replace("[`", "`").replace("`]", "`")
}
