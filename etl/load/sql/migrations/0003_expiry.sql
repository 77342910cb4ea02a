-- Whether a file was past its time; some providers keep every file equally long and tell no time.
-- Gemini: 48 hours, https://ai.google.dev/gemini-api/docs/files; Cohere: 30 days, https://docs.cohere.com/docs/datasets
create macro has_expired(provider, created_at, expires_at, moment) as coalesce(
    coalesce(
        expires_at,
        created_at + case provider when 'gemini' then interval 48 hours when 'cohere' then interval 30 days end
    ) <= moment,
    false
);

alter table credentials add column workspace varchar;
