//! The `ApiKey` enum and its table.

use super::model::Api;

pub fn api_keys(apis: &[Api]) -> String {
    let mut variants = String::new();
    let mut all = String::new();
    let mut from_code = String::new();
    let mut infos = String::new();
    for api in apis {
        let (name, key) = (&api.name, api.key);
        let (min, max) = (api.versions.min, api.versions.max);
        let advertised_max = if api.latest_unstable { max - 1 } else { max };
        variants += &format!("    {name} = {key},\n");
        all += &format!("        ApiKey::{name},\n");
        from_code += &format!("            {key} => ApiKey::{name},\n");
        infos += &format!(
            "            ApiKey::{name} => &ApiInfo {{\n                name: \"{name}\",\n                \
             valid: VersionRange {{ min: {min}, max: {max} }},\n                \
             advertised: VersionRange {{ min: {}, max: {advertised_max} }},\n                \
             flexible_from: {:?},\n                latest_unstable: {},\n            }},\n",
            api.advertised_from, api.flexible_from, api.latest_unstable,
        );
    }
    format!(
        "/// The APIs by their keys.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         #[repr(i16)]\n\
         pub enum ApiKey {{\n{variants}}}\n\n\
         impl ApiKey {{\n    /// In order of their keys.\n    pub const ALL: &'static [ApiKey] = &[\n{all}    ];\n\n    \
         /// `None` for a key that the codec does not know.\n    \
         pub fn from_code(code: i16) -> Option<ApiKey> {{\n        Some(match code {{\n{from_code}            \
         _ => return None,\n        }})\n    }}\n\n    \
         pub fn info(self) -> &'static ApiInfo {{\n        match self {{\n{infos}        }}\n    }}\n}}\n"
    )
}
