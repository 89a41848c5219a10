"""By which words `new-dataset` knows columns and kinds of events, in several languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.looked_at import guess
from shopkeeper.ingest.guesses.habits import kind_of


def test_a_german_export_needs_no_renaming(tmp_path: Path):
    lines = ["Zeitpunkt;Kundenkarte;Sitzung;Vorgang;Artikelnummer;Menge;Preis;Bon"]
    for i in range(60):
        end = ("Ansicht;00001;;;", f"Kauf;00001;2;3,5;B{i}")[i % 2]
        kind, _, rest = end.partition(";")
        lines.append(f"{1 + i % 28:02d}.01.2024 10:00:00;{i % 3:05d};s{i // 2};{kind};{rest}")
    config, text = guess(tmp_path, "\n".join(lines) + "\n")
    assert config["columns"] == {
        "timestamp": "Zeitpunkt", "user_id": "Kundenkarte", "session_id": "Sitzung", "item_id": "Artikelnummer",
        "quantity": "Menge", "price": "Preis", "order_id": "Bon",
    }  # fmt: skip
    assert config["event_type"] == {"column": "Vorgang", "map": {"Ansicht": "view", "Kauf": "purchase"}}
    assert "of it is missing" not in text  # views have no price: the schema says so, it is no doubt


@pytest.mark.parametrize(
    "header",
    [
        "N° commande;Date de commande;Client;Référence produit;Quantité;Prix unitaire TTC",
        "Nº pedido;Fecha del pedido;Cliente;Código artículo;Cantidad;Precio unitario",
        "Numero ordine;Data ordine;Cliente;Codice prodotto;Quantità;Prezzo unitario",
        "Bestelnummer;Datum;Klantnummer;Artikelcode;Aantal;Prijs",
        "Nr zamówienia;Data zamówienia;Klient;Kod towaru;Ilość;Cena",
        "Номер заказа;Дата заказа;Покупатель;Артикул;Количество;Цена",
        "Номер замовлення;Дата;Клієнт;Код товару;Кількість;Ціна",
    ],
)
def test_an_export_in_another_language_needs_no_renaming(tmp_path: Path, header: str):
    lines = [
        f"{1000 + n // 2};{1 + n % 28:02d}.02.2024;c{n % 9};p{n % 7};{1 + n % 3};{n % 7 + 1},50" for n in range(80)
    ]
    config, text = guess(tmp_path, "\n".join([header, *lines]) + "\n")
    names = ("order_id", "timestamp", "user_id", "item_id", "quantity", "price")
    assert config["columns"] == dict(zip(names, header.split(";"), strict=True))
    assert config["event_type"] == "purchase"
    assert "no column is called like" not in text


def test_kinds_of_events_are_known_in_other_languages():
    said = {"просмотр": "view", "Додано в кошик": "add_to_cart", "Achat": "purchase", "Devolución": "return",
            "удаление из корзины": "remove_from_cart", "покупка": "purchase", "kaffee": None,
            "Retirer du panier": "remove_from_cart", "eliminar del carrito": "remove_from_cart",
            "rimosso dal carrello": "remove_from_cart", "Usuń z koszyka": "remove_from_cart",
            "убрать из корзины": "remove_from_cart", "Anulación de compra": "return", "отмена заказа": "return",
            "Ajouter au panier": "add_to_cart"}  # fmt: skip
    assert {name: kind_of(name) for name in said} == said


def test_unknown_event_names_and_nameless_columns_are_doubts(tmp_path: Path):
    config, text = guess(tmp_path, "a,b,action\n" + "".join(f"x{n},y{n % 3},zap\n" for n in range(9)))
    assert config["columns"] == {"user_id": "a", "item_id": "b"}
    assert config["defaults"] == [{"override /split@_global_.split": "leave_one_out"}]
    assert text.count("# DOUBT") == 4


def test_kinds_of_goods_in_a_log_of_orders_are_no_kinds_of_events(tmp_path: Path):
    head = "customer,ordered_at,sku,order,price,kind\n"
    rows = [f"S{i % 9},2022-01-{1 + i % 28:02} 10:00:00,box{i % 3},{i},19.9," for i in range(90)]
    config, text = guess(tmp_path, head + "".join(f"{r}{'box' if i % 3 else 'extra'}\n" for i, r in enumerate(rows)))
    assert (config["event_type"], config["target_events"]) == ("purchase", ["purchase"])
    assert "if 'kind' does, write event_type" in text
    booked = guess(tmp_path, head + "".join(f"{r}{'booked' if i % 3 else 'refund'}\n" for i, r in enumerate(rows)))[0]
    assert booked["event_type"]["map"]["refund"] == "return"  # one word is one of events: the column is read


def test_charges_of_cards_are_purchases_at_their_unix_seconds(tmp_path: Path):
    head = "charge_id,created,customer,product,amount_cents,type,refund_of\n"
    kinds = {"trial": 0, "charge": 999, "refund": 999}
    rows = [f"ch_{i},{1719835848 + 86400 * i},c{i % 9},plan-{i % 3},{kinds[k]},{k},"
            for i, k in ((i, list(kinds)[i % 3]) for i in range(120))]  # fmt: skip
    config, text = guess(tmp_path, head + "\n".join(rows) + "\n")
    told = {"user_id": "customer", "item_id": "product", "timestamp": "created", "order_id": "charge_id"}
    assert config["columns"] == told | {"price": "amount_cents"}
    assert config["event_type"]["map"] == {"trial": "view", "charge": "purchase", "refund": "return"}
    assert config["target_events"] == ["purchase"]
    assert "trial: view # 40 rows # DOUBT: what is it?\n" in text  # for nothing, so it is not taken for a purchase
    assert "divide_by: {price: 100}" in text
    assert kind_of("chargeback") == "return"
    config, text = guess(tmp_path, head + "\n".join(rows).replace("charge,", "zap,") + "\n")
    assert config["event_type"]["map"]["zap"] == "purchase"  # nothing else is, and it has amounts
    assert "zap: purchase # 40 rows # DOUBT: what is it? its rows have amounts\n" in text


@pytest.mark.parametrize("holder", ["loyalty_card", "household_key", "Kartennummer"])
def test_baskets_are_a_cards_or_a_households_where_nobody_else_is_named(tmp_path: Path, holder: str):
    """Not of the till's own numbers, of which there are more."""
    head = f"receipt_no,date,{holder},article,price,scanned\n"
    lines = (f"{n // 3},2024-03-{1 + n % 28:02} 10:00,k{n % 9},s{n % 5},{n % 5}.50,{n:05}" for n in range(90))
    config, text = guess(tmp_path, head + "\n".join(lines) + "\n")
    assert config["columns"]["user_id"] == holder
    assert f"# DOUBT: no column is called like a user_id; '{holder}' is taken for one" in text
