"""What customers may be told of how the answers come about: plain, true of this bundle, in three languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shopkeeper.tasks.find import find_task, own_tasks

LISTS = {
    "English": (
        "How these suggestions come about",
        "A computer program puts them in order. It reads {read} in this shop and compares it with what customers as a "
        "whole chose one after the other{until}. What others chose after similar products stands higher in your list.",
        "It reads no name, no address, no e-mail and no age. It does not know why you chose something.",
        "Where it knows nothing of you, it shows what many choose: the same list for all.",
        "Products that you have chosen before {seen}.",
        "The order says nothing about the quality of a product, and nobody looks at it before you do.",
        "You may ask the shop to see what is stored about you, to correct or erase it, or to get the list that is the "
        "same for all.",
    ),
    "Русский": (
        "Как возникают эти рекомендации",
        "Порядок товаров определяет компьютерная программа. Она читает {read} в этом магазине и сравнивает это с тем, "
        "что покупатели в целом выбирали одно за другим{until}. Чем чаще другие выбирали товар после похожих товаров, "
        "тем выше он стоит в вашем списке.",
        "Программа не читает ни имени, ни адреса, ни электронной почты, ни возраста. Она не знает, почему вы что-то "
        "выбрали.",
        "Если о вас ничего не известно, она показывает то, что выбирают многие: один и тот же список для всех.",
        "Товары, которые вы уже выбирали, {seen}.",
        "Порядок ничего не говорит о качестве товара, и до вас его никто не просматривает.",
        "Вы можете попросить магазин показать, исправить или удалить данные о вас или показывать вам список, "
        "одинаковый для всех.",
    ),
    "Українська": (
        "Як виникають ці рекомендації",
        "Порядок товарів визначає комп’ютерна програма. Вона читає {read} у цьому магазині й порівнює це з тим, що "
        "покупці загалом обирали одне за одним{until}. Що частіше інші обирали товар після схожих товарів, то вище він "
        "стоїть у вашому списку.",
        "Програма не читає ні імені, ні адреси, ні електронної пошти, ні віку. Вона не знає, чому ви щось обрали.",
        "Якщо про вас нічого не відомо, вона показує те, що обирає багато хто: один і той самий список для всіх.",
        "Товари, які ви вже обирали, {seen}.",
        "Порядок нічого не каже про якість товару, і до вас його ніхто не переглядає.",
        "Ви можете попросити магазин показати, виправити або видалити дані про вас чи показувати вам список, однаковий "
        "для всіх.",
    ),
}
ESTIMATES = {
    "English": (
        "How this estimate comes about",
        "A computer program estimates {what}. It reads {read} in this shop and compares it with what became of earlier "
        "customers with similar data{until}.",
        "{apart}",
        "It is an estimate for many people who are alike. Of one person it may be wrong.",
        "You may ask the shop to see what is stored about you, to correct or erase it, or to be left out.",
    ),
    "Русский": (
        "Как возникает эта оценка",
        "Компьютерная программа оценивает {what}. Она читает {read} в этом магазине и сравнивает это с тем, что было "
        "дальше с прежними покупателями с похожими данными{until}.",
        "{apart}",
        "Это оценка для многих похожих людей. Об отдельном человеке она может быть неверной.",
        "Вы можете попросить магазин показать, исправить или удалить данные о вас или не учитывать вас.",
    ),
    "Українська": (
        "Як виникає ця оцінка",
        "Комп’ютерна програма оцінює {what}. Вона читає {read} у цьому магазині й порівнює це з тим, що було далі з "
        "попередніми покупцями зі схожими даними{until}.",
        "{apart}",
        "Це оцінка для багатьох схожих людей. Щодо окремої людини вона може бути хибною.",
        "Ви можете попросити магазин показати, виправити або видалити дані про вас чи не враховувати вас.",
    ),
}
WORDS: dict[str, dict[str, str]] = {
    "English": {
        "newest": "the newest {n} things that you looked at, searched for or bought",
        "all": "what you looked at, searched for or bought, and when",
        "row": "the columns that the shop's table has of you ({columns})",
        "until": ", until {day}",
        "again": "may be shown again",
        "left out": "are left out",
        "probabilities": "how probable it is that something happens within the next {days}",
        "probable": "how probable it is that {of_you}",
        "counts": "how often you will order within the next {days}",
        "amounts": "for how much you will buy within the next {days}",
        "days": "when within the next {days} you will order",
        "session": "how probable it is that you will buy during this visit",
        "long": "{n} days",
        "some time": "time",
        "apart": "It reads no name, no address and no e-mail.",
        "apart of row": "It reads nothing else of you.",
    },
    "Русский": {
        "newest": "последние {n} товаров и запросов, которые вы смотрели, искали или покупали,",
        "all": "что вы смотрели, искали или покупали и когда,",
        "row": "столбцы таблицы магазина о вас ({columns})",
        "until": ", до {day}",
        "again": "могут быть показаны снова",
        "left out": "не показываются",
        "probabilities": "вероятность того, что произойдёт в ближайшие {days}",
        "probable": "вероятность того, что {of_you}",
        "counts": "сколько раз вы закажете в ближайшие {days}",
        "amounts": "на какую сумму вы купите в ближайшие {days}",
        "days": "когда в ближайшие {days} вы сделаете заказ",
        "session": "насколько вероятно, что вы купите что-то за это посещение",
        "long": "дни (число дней: {n})",
        "some time": "дни",
        "apart": "Она не читает ни имени, ни адреса, ни электронной почты.",
        "apart of row": "Больше ничего о вас она не читает.",
    },
    "Українська": {
        "newest": "останні {n} товарів і запитів, які ви переглядали, шукали чи купували,",
        "all": "що ви переглядали, шукали чи купували й коли,",
        "row": "стовпці таблиці магазину про вас ({columns})",
        "until": ", до {day}",
        "again": "можуть бути показані знову",
        "left out": "не показуються",
        "probabilities": "ймовірність того, що станеться в найближчі {days}",
        "probable": "ймовірність того, що {of_you}",
        "counts": "скільки разів ви замовите в найближчі {days}",
        "amounts": "на яку суму ви купите в найближчі {days}",
        "days": "коли в найближчі {days} ви зробите замовлення",
        "session": "наскільки ймовірно, що ви купите щось за це відвідування",
        "long": "дні (кількість днів: {n})",
        "some time": "дні",
        "apart": "Вона не читає ні імені, ні адреси, ні електронної пошти.",
        "apart of row": "Більше нічого про вас вона не читає.",
    },
}


def statement(manifest: Mapping[str, Any], columns: list[str]) -> str:
    """The text of statement.md. `columns`: of a table of customers, those that are read."""
    texts = LISTS if manifest["kind"] == "recommender" else ESTIMATES
    parts = []
    for language, (title, *sentences) in texts.items():
        said = _said(manifest, language, columns)
        parts += [f"## {language}", "", f"**{title}**", "", *(one.format(**said) for one in sentences), ""]
    return "\n".join(parts)


def _said(m: Mapping[str, Any], language: str, columns: list[str]) -> dict[str, str]:
    words = WORDS[language]
    longest, until, days = m["history"]["max_length"], m["data"].get("trained_until"), m.get("horizon_days")
    row = m["kind"] == "table"
    read = words["row"].format(columns=", ".join(columns)) if row else (
        words["all"] if longest is None else words["newest"].format(n=longest))  # fmt: skip
    within = words["some time"] if days is None else words["long"].format(n=f"{days:g}")
    return {
        "read": read,
        "until": words["until"].format(day=until[:10]) if until else "",
        "seen": words["left out" if m.get("filter_seen") else "again"],
        "what": _what(m, words, language).format(days=within),
        "apart": words["apart of row" if row else "apart"],
    }


def _what(m: Mapping[str, Any], words: Mapping[str, str], language: str) -> str:
    """What is estimated, with {days}: of a task of this package's own in its words, unless a table has the labels."""
    if "session" in m:
        return words["session"]
    known = m["kind"] != "table" and m["task"] in own_tasks()
    of_you = find_task({"name": m["task"]}).words.of_you if known else {}
    return words["probable"].format(of_you=of_you[language]) if of_you else words[m.get("answers") or "probabilities"]
