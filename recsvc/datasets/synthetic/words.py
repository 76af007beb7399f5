"""The words of the synthetic catalogue: tastes with their genres and tags, and title parts."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Taste:
    """One dimension of the latent space that users and movies share."""

    genres: tuple[str, ...]  #: MovieLens genre names, the most typical first
    tags: tuple[str, ...]  #: what users write about such movies, the most frequent first


def _taste(genres: str, tags: str) -> Taste:
    return Taste(tuple(genres.split("|")), tuple(tags.split("|")))


NO_GENRES: Final = "(no genres listed)"

TASTES: Final = (
    _taste("Comedy|Romance", "romantic|chick flick|wedding|feel-good|love story|new york city"),
    _taste("Drama", "bittersweet|family|coming of age|small town|friendship|melancholy"),
    _taste("Action|Thriller", "explosions|car chase|assassin|gunfight|one man army|revenge"),
    _taste("Comedy", "high school|gross-out|slapstick|stupid|will ferrell|road trip"),
    _taste("Drama|Romance", "tragedy|period piece|based on a book|jane austen|costume|longing"),
    _taste("Crime|Drama", "organized crime|mafia|gangsters|police|prison|heist"),
    _taste("Sci-Fi|Action", "space|aliens|robots|dystopia|special effects|post-apocalyptic"),
    _taste("Thriller|Mystery", "twist ending|suspense|serial killer|psychological|detective|noir"),
    _taste("Horror", "zombies|gore|slasher|vampires|haunted house|jump scares"),
    _taste("Adventure|Fantasy", "magic|quest|dragons|swords|epic|mythology"),
    _taste("Children|Animation|Comedy", "disney|pixar|talking animals|family film|toys|sing-along"),
    _taste("Action|Adventure|IMAX", "superhero|marvel|comic book|secret identity|dc|team"),
    _taste("Drama|War", "world war ii|soldiers|anti-war|history|vietnam|holocaust"),
    _taste("Comedy|Crime", "dark comedy|quirky|coen brothers|deadpan|caper|ensemble cast"),
    _taste("Documentary", "politics|true story|journalism|nature|interviews|social commentary"),
    _taste("Sci-Fi|Mystery|Thriller", "mindfuck|time travel|dreamlike|memory|surreal|nonlinear"),
    _taste("Musical|Children|Romance", "music|broadway|dancing|soundtrack|singers|technicolor"),
    _taste("Animation|Fantasy", "anime|studio ghibli|beautiful|hayao miyazaki|spirits|japan"),
    _taste("Western|Action", "cowboys|spaghetti western|clint eastwood|desert|outlaws|horses"),
    _taste(
        "Film-Noir|Crime|Mystery", "femme fatale|black and white|hard-boiled|classic|rain|shadows"
    ),
    _taste(
        "Drama|Comedy", "mental illness|thought-provoking|loneliness|wes anderson|writers|satire"
    ),
    _taste("Horror|Sci-Fi", "monster|cult film|b movie|campy|creature|so bad it's good"),
    _taste("Romance|Drama|Comedy", "french|paris|foreign|subtitles|atmospheric|art house"),
    _taste("Action|Crime|Comedy", "martial arts|hong kong|buddy cops|kung fu|stylized|tarantino"),
)

#: Put before a taste's tag, they make the long tail of rarely used tags.
TAG_MODIFIERS: Final = (
    "great", "dark", "clever", "slow", "violent", "touching", "modern", "classic", "funny",
    "visually appealing", "predictable", "british", "gritty", "stylish", "underrated",
)  # fmt: skip

#: Tags that say nothing about taste, one with a comma and one with quotes for the CSV's sake.
GENERAL_TAGS: Final = (
    "In Netflix queue", "to see again", "seen at the cinema", "boring", "overrated",
    "own it, on disc", 'the "director\'s cut"', "watch with friends",
)  # fmt: skip

ADJECTIVES: Final = (
    "Silent", "Last", "Golden", "Broken", "Hidden", "Red", "Perfect", "Lonely", "Savage", "Gentle",
    "Crooked", "Distant", "Burning", "Secret", "Little", "Lost", "Electric", "Wild", "Frozen",
    "Honest", "Midnight", "Second", "Invisible", "Reluctant",
)  # fmt: skip
NOUNS: Final = (
    "River", "Garden", "Stranger", "Promise", "Winter", "Detective", "Island", "Letter", "Machine",
    "Daughter", "Kingdom", "Summer", "Station", "Hunter", "Mirror", "Orchard", "Voyage", "Echo",
    "Bride", "Harbor", "Shadow", "Circus", "Lighthouse", "Soldier", "Piano", "Fortune",
)  # fmt: skip
PLACES: Final = (
    "Paris", "the North", "São Paulo", "Montréal", "Shanghai", "the Valley", "Berlin", "Nowhere",
    "Havana", "the Moon", "Kraków", "Texas", "Naples", "the Sea",
)  # fmt: skip

#: Filled with adjective, noun and place; commas and quotes as MovieLens has them.
TITLE_FORMS: Final = (
    "{adjective} {noun}", "{adjective} {noun}, The", "{noun} of {place}", "{noun}, The",
    "{adjective} {noun} in {place}", "{noun}, {adjective} {noun}", '"{adjective}" {noun}',
    "{place}, My {noun}", "{adjective} {noun} II", "A {adjective} {noun}",
)  # fmt: skip
