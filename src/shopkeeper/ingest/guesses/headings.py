"""What shops call the columns that a log needs: English, German, French, Spanish, Italian, Dutch, Polish, Russian,
Ukrainian. Values decide with the names: a time is a column that can be read as times, a price one of numbers.
"""

from __future__ import annotations

NAMES = {  # our column -> what shops call it, most telling first
    "user_id": r"^(user|customer|client|visitor|member|person|buyer|account|shopper|kunde|besucher)|"
    r"(user|customer|client|cust).?(id|no|nr|number)?$|^uid$|"
    r"^(acheteur|usuario|comprador|utente|acquirente|klant|klient|nabywca|клиент|покупатель|клієнт|покупець)",
    "item_id": r"^(item|product|sku|article|stock.?code|asin|isbn|movie|track|book|brand|good|artikel)|"
    r"^(code|r[ée]f[ée]rence|codice|c[oó]digo|kod|код)?.?(produ[ikc]t|prodott|art[ií]c|articol|towar|товар|артикул)",
    "timestamp": r"time|date|(^|_)(ts|epoch)($|_)|_at$|^created$|datum|zeit|^when$|^data\b|fecha|дата|^время|^час\b",
    "event_type": r"event|action|behaviou?r|^type$|kind|interaction|vorgang|ereignis|^aktion|"
    r"[ée]v[ée]nement|событие|подія",
    "order_id": r"order|invoice|transaction|basket|receipt|(charge|payment).?(id|no|nr|number)$|"
    r"bestel|^bon|beleg|rechnung|auftrag|"
    r"commande|facture|pedido|factura|ordin[ei]|fattura|zam[oó]wieni|paragon|заказ|замовлен|чек|счёт|рахунок",
    "session_id": r"session|visit(?!or)|sitzung|besuch(?!er)|sesi[oó]n|sesja|сесси|сеанс|сесі",
    "quantity": r"quantity|qty|units|count|^n$|number_of|menge|quantit|qt[ée]|cantidad|"
    r"ilo[śs][ćc]|aantal|колич|кол-во|кільк",
    "price": r"price|amount|value|cost|revenue|preis|betrag|umsatz|"
    r"prix|montant|precio|importe|prezzo|importo|prijs|cena|kwota|цена|сумма|ціна|сума",
    "channel": r"channel|device|platform|store|source|kanal|^canal|канал|магазин",
}
# Of several prices those that nobody paid: what it is usually, what it cost the shop.
NOT_PAID = r"list|shelf|regular|usual|original|^old|before|full|msrp|rrp|uvp|cost|wholesale"
# Whose baskets they are, where no column is called like a person: a card, a household.
HOLDERS = r"card|loyalty|household|karte|haushalt|carte|tarjeta|tessera|kart[ay]|карт"
